//! Exponential and activations, sixteen lanes at a time.
//!
//! | function | method | max error, fused levels | max error, `portable` on x86-64 |
//! |---|---|---|---|
//! | exp(x), x ≤ 0 | x = n ln2 + r, degree 6 in r | 1 ulp, beyond 1.5 | 1 ulp |
//! | GELU (erf) | scaled normal tail, below | 6 ulp, beyond 7 | 11 ulp, beyond 69.5 |
//! | the same, to be rounded | Φ by a polynomial, below | 5.2 · 10⁻⁵, not in ulps | the same |
//! | GELU (tanh) | x σ(2 √(2/π) (x + 0.044715 x³)) | 29 ulp, beyond 277 | 32 ulp, beyond 315 |
//! | ReLU | max(x, 0) | exact | exact |
//! | SiLU | x σ(x) | 3.5 ulp | 3.5 ulp |
//! | tanh | odd polynomial, or (1 − e)/(1 + e) with e = exp(−2\|x\|) | 2 ulp, beyond 1.5 | 2 ulp, beyond 1.5 |
//! | QuickGELU | x σ(1.702 x) | 8.5 ulp, beyond 83.5 | 8.5 ulp, beyond 83.5 |
//! | Mish | a quotient in e = exp(−\|x\|) | 4 ulp | 4 ulp |
//!
//! The first bound is for |x| ≤ 4, the one "beyond" for all other x; a single one is for both. They hold for every f32
//! (tests/math.rs sweeps all 2³² in an ignored test, and a sample always), counted in ulps of the exact result, where
//! results below the smallest normal number count as zero. The large ones are for negative x, where the rounding error
//! of an exponent grows with the exponent: σ is near exp there, and the results are small.
//!
//! σ is had from exp(−|·|), so that nothing overflows. Where that is below the smallest normal number it is given as 0,
//! and so is the result, although the factor x may lift the exact one above that number: at most 1.03 · 10⁻³⁶ (SiLU and
//! Mish), 6.1 · 10⁻³⁷ (QuickGELU) or 1.2 · 10⁻³⁷ (GELU with tanh) are lost.
//!
//! # GELU
//!
//! GELU(x) = x Φ(x), Φ being the normal distribution function: ½ (1 + erf(x/√2)). Computed by that formula in f32 the sum
//! 1 + erf cancels for negative x, and what is left has few correct digits. Here instead, with t = |x|,
//!
//! ```text
//! q = Φ(−t) = exp(−t²/2) · P(t)/Q(t)
//! GELU(x) = x q      for x < 0
//!         = x − x q  for x ≥ 0
//! ```
//!
//! where P/Q is a minimax rational of degree 4 over 5 whose coefficients are all positive, so nothing cancels anywhere.
//! t² is needed to more digits than f32 has, because exp turns its absolute error into a relative one: the rounding error
//! of t·t is had from a fused multiply-add and goes into the argument reduction of exp. (Without fusion it is lost,
//! hence the larger error of `portable` for negative x.)
//!
//! # GELU that is rounded
//!
//! After a product of words the result of GELU becomes words itself: in int8 one of 255 steps, each a hundredth of a token's
//! largest number or so, in bf16 a number of eight bits. The last digits of the above, which take 46 cycles a vector where
//! the whole product takes 300 in int8, are lost at once. There Φ is
//!
//! ```text
//! Φ(x) = ½ ± min(t R(t²), ½)      t = min(|x|, 4.4), R of degree 8
//! ```
//!
//! and GELU errs by at most 5.2 · 10⁻⁵, half of it roundings (tests/words.rs). It is the same function, by fewer terms; not the one
//! with tanh, which is off by up to 5 · 10⁻⁴.
//!
//! All coefficients come from `kernels/coefficients/fit.py`, which says how they are found and prints them.

use crate::level::{Level, Operator};
use crate::simd::{LANES, Simd};
use crate::view::MatMut;

/// An activation function, as `hidden_act` of a model's config.json names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x), with the normal distribution function: `gelu`.
    Gelu,
    /// ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))): `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// max(x, 0): `relu`.
    Relu,
    /// x σ(x): `silu`, `swish`.
    Silu,
    /// `tanh`.
    Tanh,
    /// x σ(1.702 x): `quick_gelu`.
    QuickGelu,
    /// x tanh(ln(1 + exp x)): `mish`.
    Mish,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Gelu, Self::GeluTanh, Self::Relu, Self::Silu, Self::Tanh, Self::QuickGelu, Self::Mish];

    /// f(x) on each lane.
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
        }
    }
}

/// Replaces each element of a matrix by its activation.
pub fn activate(level: Level, activation: Activation, x: MatMut<'_>) {
    struct Activate<'a>(Activation, MatMut<'a>);
    impl Operator for Activate<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(mut self, s: S) {
            activate_lanes(s, self.0, &mut self.1);
        }
        fn reference(mut self) {
            for i in 0..self.1.rows() {
                for x in self.1.row_mut(i) {
                    *x = crate::reference::activation(self.0, f64::from(*x)) as f32;
                }
            }
        }
    }
    level.enter(Activate(activation, x));
}

/// The body of [`activate`], for operators that end in it.
#[inline(always)]
pub(crate) fn activate_lanes<S: Simd>(s: S, activation: Activation, x: &mut MatMut<'_>) {
    for i in 0..x.rows() {
        for part in x.row_mut(i).chunks_mut(LANES) {
            let v = activation.lanes(s, s.load_partial(part, 0.0));
            s.store_partial(part, v);
        }
    }
}

/// Replaces each x ≤ 0 by exp(x).
pub fn exp(level: Level, x: &mut [f32]) {
    struct Exp<'a>(&'a mut [f32]);
    impl Operator for Exp<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for part in self.0.chunks_mut(LANES) {
                let v = exp_nonpositive(s, s.load_partial(part, 0.0));
                s.store_partial(part, v);
            }
        }
        fn reference(self) {
            for x in self.0 {
                *x = f64::from(*x).exp() as f32;
            }
        }
    }
    level.enter(Exp(x));
}

/// Below this, exp is less than the smallest normal f32 and is given as zero: no denormal ever arises.
const EXP_CUTOFF: f32 = -87.336_54;

/// exp(x) for x ≤ 0, and 0 below [`EXP_CUTOFF`]. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp_nonpositive<S: Simd>(s: S, x: S::F) -> S::F {
    exp_split(s, x, s.splat(0.0))
}

/// exp(x + low), low being small beside x.
#[inline(always)]
fn exp_split<S: Simd>(s: S, x: S::F, low: S::F) -> S::F {
    // Adding 1.5 · 2²³ leaves round(x / ln2) in the low bits of the sum; 127 more make that the exponent's code.
    const TO_INTEGER: f32 = 12_582_912.0 + 127.0;
    // ln2 in two parts. The first has few enough digits for n times it to be exact, fused or not.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let code = s.mul_add(x, s.splat(std::f32::consts::LOG2_E), s.splat(TO_INTEGER));
    let n = s.sub(code, s.splat(TO_INTEGER));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), x);
    let r = s.add(s.mul_add(n, s.splat(-LN2_LOW), r), low);
    let p = s.splat(1.382_389e-3);
    let p = s.mul_add(p, r, s.splat(8.368_824e-3));
    let p = s.mul_add(p, r, s.splat(4.166_823e-2));
    let p = s.mul_add(p, r, s.splat(1.666_652e-1));
    let p = s.mul_add(p, r, s.splat(4.999_999_4e-1));
    let p = s.mul_add(s.mul(r, r), p, r);
    // 2ⁿ (1 + p), with the 1 added last so that the small terms are not rounded twice.
    let scale = s.low_bits_to_exponent(code);
    let e = s.mul_add(scale, p, scale);
    s.select_lt(x, s.splat(EXP_CUTOFF), s.splat(0.0), e)
}

/// GELU by the scaled normal tail (module documentation).
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    let t = s.abs(x);
    let square = s.mul(t, t);
    // -(t² - square)/2: what the rounding of the square lost.
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
    // x P/Q first: far out, e P/Q alone would be below the normal numbers and lose digits.
    let tail = s.mul(s.mul(x, s.div(p, q)), e);
    // Farther still Q overflows and P/Q is not a number; there the tail is zero, as it is from where exp is. (So it is
    // for x = NaN, which then comes through x − tail.)
    let tail = s.select_lt(t, s.splat(14.5), tail, s.splat(0.0));
    s.select_lt(x, s.splat(0.0), tail, s.sub(x, tail))
}

/// Replaces each x by GELU(x), as exactly as is of use where the result is rounded to a word (module documentation).
#[inline(always)]
pub(crate) fn gelu_quantized<S: Simd>(s: S, x: &mut MatMut<'_>) {
    for i in 0..x.rows() {
        for part in x.row_mut(i).chunks_mut(LANES) {
            let v = gelu_poly(s, s.load_partial(part, 0.0));
            s.store_partial(part, v);
        }
    }
}

#[inline(always)]
fn gelu_poly<S: Simd>(s: S, x: S::F) -> S::F {
    const EDGE: f32 = 4.4;
    let (half, edge) = (s.splat(0.5), s.splat(EDGE));
    let size = s.abs(x);
    let t = s.select_lt(size, edge, size, edge);
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
    // x (½ ± v), where the sign is that of x.
    s.mul_add(size, v, s.mul(x, half))
}

/// 1 / (1 + exp(−x)).
#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let e = exp_nonpositive(s, s.sub(s.splat(0.0), s.abs(x)));
    s.div(s.select_lt(x, s.splat(0.0), e, one), s.add(one, e))
}

/// ½ (1 + tanh u) = σ(2u), so this form of GELU is x σ(2 √(2/π) (x + 0.044715 x³)).
#[inline(always)]
fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    const TWO_ROOT: f32 = 1.595_769_2;
    let cubed = s.mul(s.mul(x, x), x);
    let inner = s.mul_add(cubed, s.splat(0.044_715), x);
    s.mul(x, sigmoid(s, s.mul(inner, s.splat(TWO_ROOT))))
}

/// tanh: near zero x + x³ T(x²), else ±(1 − e)/(1 + e) with e = exp(−2|x|).
#[inline(always)]
fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let t = s.abs(x);
    let square = s.mul(x, x);
    let p = s.splat(-6.183_836e-3);
    let p = s.mul_add(p, square, s.splat(2.100_89e-2));
    let p = s.mul_add(p, square, s.splat(-5.383_734_4e-2));
    let p = s.mul_add(p, square, s.splat(1.333_244_6e-1));
    let p = s.mul_add(p, square, s.splat(-3.333_331_3e-1));
    let small = s.mul_add(s.mul(x, square), p, x);
    let e = exp_nonpositive(s, s.mul(t, s.splat(-2.0)));
    let large = s.div(s.sub(one, e), s.add(one, e));
    let large = s.select_lt(x, zero, s.sub(zero, large), large);
    s.select_lt(t, s.splat(0.55), small, large)
}

/// x tanh(ln(1 + eˣ)) = x (1 + 2e)/(1 + 2e + 2e²) for x ≥ 0, and x (e² + 2e)/(e² + 2e + 2) for x < 0, with e = exp(−|x|).
#[inline(always)]
fn mish<S: Simd>(s: S, x: S::F) -> S::F {
    let two = s.splat(2.0);
    let negative = |a, b| s.select_lt(x, s.splat(0.0), a, b);
    let e = exp_nonpositive(s, s.sub(s.splat(0.0), s.abs(x)));
    let square = s.mul(e, e);
    let top = s.mul_add(two, e, negative(square, s.splat(1.0)));
    let bottom = s.add(top, negative(two, s.mul(two, square)));
    s.mul(x, s.div(top, bottom))
}
