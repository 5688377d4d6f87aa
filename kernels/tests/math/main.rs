//! exp and the activations: their errors against f64, which one table bounds, and their values.

#[path = "../common/mod.rs"]
mod common;

mod error_bounds;
mod reference;
mod values;

use std::fmt;

use likewise_kernels::Level;
use likewise_kernels::math::{Activation, activate, exp_nonpositive};
use likewise_kernels::reference::activation;
use likewise_kernels::view::MatMut;

/// The functions under test.
const FUNCTIONS: [Function; 9] = [
    Function::Exp,
    Function::Of(Activation::Gelu),
    Function::Of(Activation::GeluTanh),
    Function::Of(Activation::Relu),
    Function::Of(Activation::Silu),
    Function::Of(Activation::Tanh),
    Function::Of(Activation::QuickGelu),
    Function::Of(Activation::Mish),
    Function::Of(Activation::Sigmoid),
];

#[derive(Clone, Copy)]
pub(crate) enum Function {
    /// exp(x), for x ≤ 0 only.
    Exp,
    Of(Activation),
}

impl Function {
    pub(crate) fn run(self, level: Level, x: &mut [f32]) {
        let cols = x.len();
        match self {
            Self::Exp => exp_nonpositive(level, x),
            Self::Of(activation) => activate(level, activation, MatMut::new(x, 1, cols)),
        }
    }

    /// Returns f(x), exact for all practical purposes.
    pub(crate) fn exact(self, x: f32) -> f64 {
        let x = f64::from(x);
        match self {
            Self::Exp => x.exp(),
            // For so large |x| the result is x or 0 to more digits than f64 has; this halves the
            // time of a sweep.
            Self::Of(Activation::Tanh) if x.abs() >= 128.0 => x.signum(),
            Self::Of(Activation::Sigmoid) if x >= 128.0 => 1.0,
            Self::Of(_) if x >= 128.0 => x,
            Self::Of(_) if x <= -128.0 => 0.0,
            Self::Of(f) => activation(f, x),
        }
    }

    /// Maps numbers into the domain of this function: exp takes none above zero.
    pub(crate) fn domain(self, x: &[f32]) -> Vec<f32> {
        match self {
            Self::Exp => x.iter().map(|x| -x.abs()).collect(),
            Self::Of(_) => x.to_vec(),
        }
    }

    pub(crate) fn limit(self, x: f32) -> f32 {
        match self {
            Self::Exp => 0.0,
            Self::Of(Activation::Tanh) => x.signum(),
            Self::Of(Activation::Sigmoid) => f32::from(x > 0.0),
            Self::Of(_) => x.max(0.0),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exp => f.pad("exp"),
            Self::Of(activation) => f.pad(&format!("{activation:?}")),
        }
    }
}
