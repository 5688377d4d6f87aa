//! Operators on rows and vectors: softmax, layer norm, distances, reductions of rows, element-wise
//! operators.
//!
//! The error bounds count roundings: each is at most `ROUNDING` of its result. In a sum of n
//! elements, an element goes through at most n/16 + 7 additions (its own lane, then the tree of 4
//! partial sums and 16 lanes).

#[path = "../common/mod.rs"]
mod common;

mod gated;
mod layer_norm;
mod reductions;
mod rms_norm;
mod rotary;
mod softmax;

use common::{Failures, ROUNDING, Random, assert_panics, roundings};
use likewise_kernels::Level;
use likewise_kernels::distance::{dot, manhattan_distance, squared_distance};
use likewise_kernels::elementwise::{add, divide};
use likewise_kernels::layer_norm::layer_norm;
use likewise_kernels::reduce::{RowWeights, max_over_rows, mean_over_rows, sum_over_rows};
use likewise_kernels::softmax::{ScoreTransform, softmax};
use likewise_kernels::view::{MatMut, MatRef};

/// Returns lengths around every multiple of a vector and of four vectors, and a long one.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=130).chain([512])
}

/// Returns the most additions that an element of a sum of n goes through.
fn additions(n: usize) -> f64 {
    n.div_ceil(16) as f64 + 7.0
}

/// Runs `compute` on all levels that must agree and compares the bits.
fn fused_levels_agree(compute: impl Fn(Level) -> Vec<f32>) {
    let fused = common::fused_levels();
    let Some(&first) = fused.first() else { return };
    let expected = compute(first);
    common::on_levels(&fused, |level, failures| {
        failures.same_bits(&compute(level), &expected, || format!("{level} and {first}"));
    });
}
