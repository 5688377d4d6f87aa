//! Every operator in its simplest form.
//!
//! Read this first: it defines what the SIMD kernels compute. Sums are in f64 and each result is
//! rounded to f32 once, so this module is also more accurate than they are. `Level::REFERENCE`
//! computes with it, and the tests compare all other levels with it.

use crate::activation::Activation;
use crate::view::MatRef;

/// Returns `start + Σ_k a[k] · b[k]` of f32.
pub fn dot_f32(start: f64, a: &[f32], b: impl Iterator<Item = f32>) -> f64 {
    let mut sum = start;
    for (&a, b) in a.iter().zip(b) {
        sum += f64::from(a) * f64::from(b);
    }
    sum
}

/// Returns `Σ_k a[k] · b[k]` of bf16, two in each `u32`.
pub fn dot_bf16(a: &[u32], b: impl Iterator<Item = u32>) -> f64 {
    let halves = |packed: u32| [packed << 16, packed & 0xffff_0000].map(|bits| f64::from(f32::from_bits(bits)));
    let products = |(&a, b): (&u32, u32)| {
        let [a0, a1] = halves(a);
        let [b0, b1] = halves(b);
        a0 * b0 + a1 * b1
    };
    a.iter().zip(b).map(products).sum()
}

/// Returns `Σ_k (a[k] − zero_point) · b[k]` of bytes, four in each `u32`: u8 in `a`, i8 in `b`. The
/// sum is exact.
pub fn dot_int8(a: &[u32], zero_point: i32, b: impl Iterator<Item = u32>) -> i64 {
    let products = |(a, b): (&u32, u32)| {
        let a = a.to_le_bytes();
        let b = b.to_le_bytes();
        let product = |i: usize| (i64::from(a[i]) - i64::from(zero_point)) * i64::from(b[i].cast_signed());
        (0..4).map(product).sum::<i64>()
    };
    a.iter().zip(b).map(products).sum()
}

/// Returns f(x).
pub fn activation(f: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match f {
        Activation::Gelu if x == f64::NEG_INFINITY => 0.0,
        Activation::Gelu => x * normal_cdf(x),
        Activation::GeluTanh => x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)),
        // Not x.max(0.0), which is 0 for NaN.
        Activation::Relu if x < 0.0 => 0.0,
        Activation::Relu => x,
        Activation::Silu => x * sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Mish => x * x.exp().ln_1p().tanh(),
        Activation::Sigmoid => sigmoid(x),
    }
}

/// Returns Φ(x), the normal distribution function, with a relative error below 10⁻¹³ (tests/math).
///
/// For |x| ≤ 2 by the series Φ(x) = ½ + φ(x) Σ x^(2n+1) / (1·3·5…(2n+1)), otherwise by the
/// continued fraction of the tail, Φ(−t) = φ(t) / (t + 1/(t + 2/(t + 3/(t + …)))). Abramowitz and
/// Stegun 26.2.11 and 26.2.14.
pub fn normal_cdf(x: f64) -> f64 {
    let t = x.abs();
    let density = (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if t.is_nan() {
        return f64::NAN;
    }
    if t <= 2.0 {
        let mut term = t;
        let mut sum = t;
        let mut n = 1.0;
        while term > 1e-18 * sum {
            n += 2.0;
            term *= t * t / n;
            sum += term;
        }
        return if x < 0.0 { 0.5 - density * sum } else { 0.5 + density * sum };
    }
    let mut fraction = t;
    for n in (1..200).rev() {
        fraction = t + f64::from(n) / fraction;
    }
    let tail = density / fraction;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// Computes p_j = exp(s_j − max s) / Σ exp(s − max s), s = scale · x + bias, over the visible
/// elements. The rest of the row becomes 0. `bias` has one element for each visible one.
pub fn softmax(row: &mut [f32], visible: std::ops::Range<usize>, scale: f32, bias: Option<&[f32]>) {
    let score = |j: usize, x: f32| f64::from(x) * f64::from(scale) + bias.map_or(0.0, |bias| f64::from(bias[j]));
    let scores: Vec<f64> = row[visible.clone()].iter().enumerate().map(|(j, &x)| score(j, x)).collect();
    let max = scores.iter().fold(f64::NEG_INFINITY, |max, &s| max.max(s));
    let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
    row.fill(0.0);
    for (p, s) in row[visible].iter_mut().zip(&scores) {
        *p = ((s - max).exp() / sum) as f32;
    }
}

/// Computes y = (x − mean) / √(variance + epsilon) · weight + bias.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) {
    let width = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / width;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width;
    let deviation = (variance + f64::from(epsilon)).sqrt();
    for (i, y) in y.iter_mut().enumerate() {
        *y = ((f64::from(x[i]) - mean) / deviation * f64::from(weight[i]) + f64::from(bias[i])) as f32;
    }
}

/// Returns Σ f(a, b).
pub fn sum_of_two(a: &[f32], b: &[f32], f: impl Fn(f64, f64) -> f64) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f(f64::from(a), f64::from(b))).sum::<f64>() as f32
}

/// Computes y = Σ_i weight(i) x\[i\] / divisor, over the rows of x.
pub fn sum_over_rows(x: MatRef<'_>, weight: impl Fn(usize) -> f64, divisor: f32, y: &mut [f32]) {
    for (n, y) in y.iter_mut().enumerate() {
        let sum = (0..x.rows()).map(|i| weight(i) * f64::from(x.row(i)[n])).sum::<f64>();
        *y = (sum / f64::from(divisor)) as f32;
    }
}

/// Computes the maximum of each column; NaN if an element of the column is not finite.
pub fn max_over_rows(x: MatRef<'_>, y: &mut [f32]) {
    for (n, y) in y.iter_mut().enumerate() {
        let column = || (0..x.rows()).map(|i| x.row(i)[n]);
        *y = if column().all(f32::is_finite) { column().fold(f32::NEG_INFINITY, f32::max) } else { f32::NAN };
    }
}

/// Computes y = x / √(mean of x² + epsilon) · weight.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64;
    let root = (mean + f64::from(epsilon)).sqrt();
    for (i, y) in y.iter_mut().enumerate() {
        *y = (f64::from(x[i]) / root * f64::from(weight[i])) as f32;
    }
}

/// Rotates each pair (x\[j\], x\[j + d/2\]) of a vector of d elements by the angle whose cosine and
/// sine are given.
pub fn rotate(x: &[f32], cos: &[f32], sin: &[f32], y: &mut [f32]) {
    let half = x.len() / 2;
    for j in 0..half {
        let [a, b, cos, sin] = [x[j], x[j + half], cos[j], sin[j]].map(f64::from);
        y[j] = (a * cos - b * sin) as f32;
        y[j + half] = (b * cos + a * sin) as f32;
    }
}

/// Computes y = f(gate) · value for the two halves of a row: the gates, then the values.
pub fn activate_gated(f: Activation, row: &[f32], y: &mut [f32]) {
    let (gates, values) = row.split_at(row.len() / 2);
    for ((y, &gate), &value) in y.iter_mut().zip(gates).zip(values) {
        *y = (activation(f, f64::from(gate)) * f64::from(value)) as f32;
    }
}
