//! Normalize: a vector to length 1.

use likewise_kernels::Level;
use likewise_kernels::vector::{divide, dot};

/// The least length that is divided by, as in torch.nn.functional.normalize.
const LEAST: f32 = 1e-12;

/// x / max(‖x‖₂, 10⁻¹²).
pub(crate) fn normalize(level: Level, x: &mut [f32]) {
    let length = dot(level, x, x).sqrt();
    divide(level, x, length.max(LEAST));
}
