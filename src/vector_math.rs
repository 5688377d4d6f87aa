//! Operations on single vectors.

use likewise_kernels::Level;
use likewise_kernels::distance::dot;
use likewise_kernels::elementwise::divide;

/// The smallest divisor of a normalization, as in `torch.nn.functional.normalize`.
const MIN_NORM: f32 = 1e-12;

/// Scales a vector to length 1: x / max(‖x‖₂, 10⁻¹²).
pub(crate) fn normalize(level: Level, x: &mut [f32]) {
    let norm = dot(level, x, x).sqrt();
    divide(level, x, norm.max(MIN_NORM));
}
