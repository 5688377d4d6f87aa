//! Exponential and activations, sixteen lanes at a time.
//!
//! | function | method | max error, fused levels | max error, `portable` on x86-64 |
//! |---|---|---|---|
//! | exp(x), x ≤ 0 | x = n ln2 + r, degree 6 in r | 1 ulp, beyond 1.5 | 1 ulp |
//! | GELU (erf) | scaled normal tail, below | 6 ulp, beyond 7 | 11 ulp, beyond 69.5 |
//! | GELU of a quantized product | Φ by a polynomial, below | 5.2 · 10⁻⁵, not in ulps | the same |
//! | GELU (tanh) | x σ(2 √(2/π) (x + 0.044715 x³)) | 29 ulp, beyond 277 | 32 ulp, beyond 315 |
//! | ReLU | max(x, 0) | exact | exact |
//! | SiLU | x σ(x) | 3.5 ulp | 3.5 ulp |
//! | tanh | odd polynomial, or (1 − e)/(1 + e), e = exp(−2\|x\|) | 2 ulp, beyond 1.5 | the same |
//! | QuickGELU | x σ(1.702 x) | 8.5 ulp, beyond 83.5 | 8.5 ulp, beyond 83.5 |
//! | Mish | a quotient in e = exp(−\|x\|) | 4 ulp | 4 ulp |
//! | σ | 1/(1 + e) or e/(1 + e), e = exp(−\|x\|) | 2.5 ulp | 2.5 ulp |
//!
//! The first bound is for |x| ≤ 4, the one "beyond" for all other x; a single bound is for both.
//! The bounds hold for every f32 (an ignored test in tests/math sweeps all 2³², another always a
//! sample). Errors are counted in ulps of the exact result, and results below the smallest normal
//! number count as zero. The large bounds are for negative x, where the rounding error of an
//! exponent grows with the exponent: σ is near exp there, and the results are small.
//!
//! σ is computed from exp(−|·|), so that nothing overflows. If exp(−|·|) is below the smallest
//! normal number it becomes 0, and so does the result, although the factor x may lift the exact
//! result above that number. The largest results that are lost this way are 1.03 · 10⁻³⁶ (SiLU and
//! Mish), 6.1 · 10⁻³⁷ (QuickGELU) and 1.2 · 10⁻³⁷ (GELU with tanh).
//!
//! # GELU
//!
//! GELU(x) = x Φ(x), where Φ is the normal distribution function: ½ (1 + erf(x/√2)). In f32 the sum
//! of that formula cancels for negative x and leaves few correct digits. This module computes
//! instead, with t = |x|,
//!
//! ```text
//! q = Φ(−t) = exp(−t²/2) · P(t)/Q(t)
//! GELU(x) = x q      for x < 0
//!         = x − x q  for x ≥ 0
//! ```
//!
//! where P/Q is a minimax rational of degree 4 over 5 whose coefficients are all positive, so
//! nothing cancels anywhere. t² is needed to more digits than f32 has, because exp turns its
//! absolute error into a relative one. A fused multiply-add yields the rounding error of t·t, which
//! goes into the argument reduction of exp. (Without fusion that error is lost, hence the larger
//! bound of `portable` for negative x.)
//!
//! # GELU of a quantized product
//!
//! After a bf16 or int8 product the result of GELU is quantized in turn: in int8 to one of 255
//! steps, each about a hundredth of a token's largest element, in bf16 to eight bits. That discards
//! the last digits of the form above immediately, and they take 46 cycles a vector where the whole
//! product takes 300 in int8. There Φ is
//!
//! ```text
//! Φ(x) = ½ ± min(t R(t²), ½)      t = min(|x|, 4.4), R of degree 8
//! ```
//!
//! and GELU errs by at most 5.2 · 10⁻⁵, half of it roundings (tests/quantized_gemm). It is the same
//! function with fewer terms, not the one with tanh, which is off by up to 5 · 10⁻⁴.
//!
//! All coefficients come from `kernels/coefficients/fit.py`, which documents how they are found and
//! prints them.

pub use crate::activation::Activation;

use crate::dot_kernel::DotKernels;
use crate::level::{Level, Operator};
use crate::simd::{LANES, ROUND_TO_INTEGER, Simd};
use crate::view::MatMut;

impl Activation {
    /// Returns f(x) on each lane.
    #[inline(always)]
    pub(crate) fn lanes<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::Gelu => gelu(s, x),
            Self::GeluTanh => gelu_tanh(s, x),
            Self::Relu => s.max(s.splat(0.0), x),
            Self::Silu => s.mul(x, sigmoid(s, x)),
            Self::Tanh => tanh(s, x),
            Self::QuickGelu => s.mul(x, sigmoid(s, s.mul(x, s.splat(1.702)))),
            Self::Mish => mish(s, x),
            Self::Sigmoid => sigmoid(s, x),
        }
    }
}

/// Applies an activation to each element of a matrix, in place.
pub fn activate(level: Level, activation: Activation, x: MatMut<'_>) {
    level.call(Activate { activation, x });
}

struct Activate<'a> {
    activation: Activation,
    x: MatMut<'a>,
}

impl Operator for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(mut self, s: S, _: D) {
        activate_lanes(s, self.activation, &mut self.x);
    }

    fn reference(mut self) {
        for i in 0..self.x.rows() {
            for x in self.x.row_mut(i) {
                *x = crate::reference::activation(self.activation, f64::from(*x)) as f32;
            }
        }
    }
}

/// Applies an activation as [`activate`] does, for operators that end with one.
#[inline(always)]
pub(crate) fn activate_lanes<S: Simd>(s: S, activation: Activation, x: &mut MatMut<'_>) {
    for i in 0..x.rows() {
        for part in x.row_mut(i).chunks_mut(LANES) {
            let v = activation.lanes(s, s.load_partial(part, 0.0));
            s.store_partial(part, v);
        }
    }
}

/// Computes exp(x) of each element, in place. Every x must be at most 0.
pub fn exp_nonpositive(level: Level, x: &mut [f32]) {
    level.call(ExpNonpositive { x });
}

struct ExpNonpositive<'a> {
    x: &'a mut [f32],
}

impl Operator for ExpNonpositive<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, _: D) {
        for part in self.x.chunks_mut(LANES) {
            let v = exp_nonpositive_lanes(s, s.load_partial(part, 0.0));
            s.store_partial(part, v);
        }
    }

    fn reference(self) {
        for x in self.x {
            *x = f64::from(*x).exp() as f32;
        }
    }
}

/// Below this, exp is less than the smallest normal f32 and becomes zero, so that no subnormal
/// arises.
const EXP_CUTOFF: f32 = -87.336_54;

/// Returns exp(x) for x ≤ 0, and 0 below [`EXP_CUTOFF`]. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp_nonpositive_lanes<S: Simd>(s: S, x: S::F) -> S::F {
    exp_split(s, x, s.splat(0.0))
}

/// Returns exp(x + low), where low is small compared with x.
#[inline(always)]
fn exp_split<S: Simd>(s: S, x: S::F, low: S::F) -> S::F {
    // The low bits of the sum hold round(x / ln2) + 127: the biased exponent of 2ⁿ.
    const TO_EXPONENT: f32 = ROUND_TO_INTEGER + 127.0;
    // ln2 in two parts. The first has so few digits that n times it is exact, fused or not.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let code = s.mul_add(x, s.splat(std::f32::consts::LOG2_E), s.splat(TO_EXPONENT));
    let n = s.sub(code, s.splat(TO_EXPONENT));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), x);
    let r = s.add(s.mul_add(n, s.splat(-LN2_LOW), r), low);
    let p = s.splat(1.382_389e-3);
    let p = s.mul_add(p, r, s.splat(8.368_824e-3));
    let p = s.mul_add(p, r, s.splat(4.166_823e-2));
    let p = s.mul_add(p, r, s.splat(1.666_652e-1));
    let p = s.mul_add(p, r, s.splat(4.999_999_4e-1));
    let p = s.mul_add(s.mul(r, r), p, r);
    // 2ⁿ (1 + p). The 1 is added last, so that the small terms are not rounded twice.
    let scale = s.low_bits_to_exponent(code);
    let e = s.mul_add(scale, p, scale);
    s.select_lt(x, s.splat(EXP_CUTOFF), s.splat(0.0), e)
}

/// Returns GELU(x) by the scaled normal tail (module documentation).
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let t = s.abs(x);
    let square = s.mul(t, t);
    // −(t² − square)/2: the rounding error of the square.
    let lost = s.mul(s.mul_add(t, t, s.sub(s.splat(0.0), square)), s.splat(-0.5));
    let e = exp_split(s, s.mul(square, s.splat(-0.5)), lost);
    let p = s.splat(4.116_979e-3);
    let p = s.mul_add(p, t, s.splat(4.063_775_8e-2));
    let p = s.mul_add(p, t, s.splat(1.832_483_9e-1));
    let p = s.mul_add(p, t, s.splat(4.383_125_3e-1));
    let p = s.mul_add(p, t, s.splat(0.5));
    let q = s.splat(1.031_961_8e-2);
    let q = s.mul_add(q, t, s.splat(1.018_701_7e-1));
    let q = s.mul_add(q, t, s.splat(4.695_056_7e-1));
    let q = s.mul_add(q, t, s.splat(1.202_557_7));
    let q = s.mul_add(q, t, s.splat(1.674_51));
    let q = s.mul_add(q, t, s.splat(1.0));
    // x P/Q first: for large t, e P/Q alone would be subnormal and lose digits.
    let tail = s.mul(s.mul(x, s.div(p, q)), e);
    // For still larger t, Q overflows and P/Q is NaN; the tail is zero there, because exp is zero
    // already. (It is also zero for x = NaN, which then propagates through x − tail.)
    let tail = s.select_lt(t, s.splat(14.5), tail, s.splat(0.0));
    s.select_lt(x, s.splat(0.0), tail, s.sub(x, tail))
}

/// Replaces each x by GELU(x), with as many digits as matter before quantization (module
/// documentation).
#[inline(always)]
pub(crate) fn gelu_quantized<S: Simd>(s: S, x: &mut MatMut<'_>) {
    for i in 0..x.rows() {
        for part in x.row_mut(i).chunks_mut(LANES) {
            let v = gelu_poly(s, s.load_partial(part, 0.0));
            s.store_partial(part, v);
        }
    }
}

/// Returns GELU(x) by a polynomial (module documentation).
#[inline(always)]
fn gelu_poly<S: Simd>(s: S, x: S::F) -> S::F {
    const MAX_T: f32 = 4.4;
    let half = s.splat(0.5);
    let max_t = s.splat(MAX_T);
    let magnitude = s.abs(x);
    let t = s.select_lt(magnitude, max_t, magnitude, max_t);
    let u = s.mul(t, t);
    let r = s.splat(3.597_574_3e-11);
    let r = s.mul_add(r, u, s.splat(-3.778_445e-9));
    let r = s.mul_add(r, u, s.splat(1.749_666_9e-7));
    let r = s.mul_add(r, u, s.splat(-4.742_081e-6));
    let r = s.mul_add(r, u, s.splat(8.448_905e-5));
    let r = s.mul_add(r, u, s.splat(-1.056_305_6e-3));
    let r = s.mul_add(r, u, s.splat(9.647_972e-3));
    let r = s.mul_add(r, u, s.splat(-6.608_572e-2));
    let r = s.mul_add(r, u, s.splat(3.987_68e-1));
    let v = s.mul(t, r);
    let v = s.select_lt(v, half, v, half);
    // x (½ ± v), with the sign of x.
    s.mul_add(magnitude, v, s.mul(x, half))
}

/// Returns σ(x) = 1 / (1 + exp(−x)).
#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let e = exp_nonpositive_lanes(s, s.sub(s.splat(0.0), s.abs(x)));
    s.div(s.select_lt(x, s.splat(0.0), e, one), s.add(one, e))
}

/// Returns GELU with tanh as x σ(2 √(2/π) (x + 0.044715 x³)), because ½ (1 + tanh u) = σ(2u).
#[inline(always)]
fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    /// 2 √(2/π).
    const SCALE: f32 = 1.595_769_2;
    let cubed = s.mul(s.mul(x, x), x);
    let inner = s.mul_add(cubed, s.splat(0.044_715), x);
    s.mul(x, sigmoid(s, s.mul(inner, s.splat(SCALE))))
}

/// Returns tanh(x): near zero x + x³ T(x²), otherwise ±(1 − e)/(1 + e) with e = exp(−2|x|).
#[inline(always)]
fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let zero = s.splat(0.0);
    let one = s.splat(1.0);
    let t = s.abs(x);
    let square = s.mul(x, x);
    let p = s.splat(-6.183_836e-3);
    let p = s.mul_add(p, square, s.splat(2.100_89e-2));
    let p = s.mul_add(p, square, s.splat(-5.383_734_4e-2));
    let p = s.mul_add(p, square, s.splat(1.333_244_6e-1));
    let p = s.mul_add(p, square, s.splat(-3.333_331_3e-1));
    let small = s.mul_add(s.mul(x, square), p, x);
    let e = exp_nonpositive_lanes(s, s.mul(t, s.splat(-2.0)));
    let large = s.div(s.sub(one, e), s.add(one, e));
    let large = s.select_lt(x, zero, s.sub(zero, large), large);
    s.select_lt(t, s.splat(0.55), small, large)
}

/// Returns Mish, x tanh(ln(1 + eˣ)), with e = exp(−|x|):
///
/// ```text
/// x (1 + 2e)/(1 + 2e + 2e²)      for x ≥ 0
/// x (e² + 2e)/(e² + 2e + 2)      for x < 0
/// ```
#[inline(always)]
fn mish<S: Simd>(s: S, x: S::F) -> S::F {
    let two = s.splat(2.0);
    let negative = |a, b| s.select_lt(x, s.splat(0.0), a, b);
    let e = exp_nonpositive_lanes(s, s.sub(s.splat(0.0), s.abs(x)));
    let square = s.mul(e, e);
    let top = s.mul_add(two, e, negative(square, s.splat(1.0)));
    let bottom = s.add(top, negative(two, s.mul(two, square)));
    s.mul(x, s.div(top, bottom))
}
