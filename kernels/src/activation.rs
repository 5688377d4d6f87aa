//! The activation functions, applied to each element of a matrix.
//!
//! GELU: Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>. SiLU: Elfwing et al. 2017,
//! <https://arxiv.org/abs/1702.03118>. Mish: Misra 2019, <https://arxiv.org/abs/1908.08681>.

/// An activation function, named as `hidden_act` in a model's config.json.
///
/// More functions may be added, so a match outside this crate needs a wildcard arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// σ(x) = 1 / (1 + exp(−x)): `sigmoid`.
    Sigmoid,
}

impl Activation {
    /// All activation functions.
    pub const ALL: [Self; 8] =
        [Self::Gelu, Self::GeluTanh, Self::Relu, Self::Silu, Self::Tanh, Self::QuickGelu, Self::Mish, Self::Sigmoid];
}
