//! The bf16 and int8 matrix product on every level, with and without dot-product extensions.

mod bf16;
mod gelu;
mod int8;
mod precisions;

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedQuantizedMatrix, gemm_quantized};
use likewise_kernels::quant::{Precision, quantize};
use likewise_kernels::view::{MatMut, MatRef};
use proptest::prelude::*;

/// The largest error of the quantized GELU. Measured over twelve million numbers from -6 to 6:
/// 5.19e-5 if multiply-add rounds twice, 4.90e-5 if it rounds once.
pub(crate) const MAX_GELU_ERROR: f32 = 5.2e-5;

/// Returns every level, and each level with dot-product extensions again with fewer of them.
pub(crate) fn levels() -> Vec<Level> {
    let fewer = |level: Level| std::iter::successors(Some(level), |l| l.without_best_dot_extension());
    Level::available().into_iter().flat_map(fewer).collect()
}

pub(crate) fn label(level: Level) -> String {
    format!("{level} with {}", level.dot_extensions().unwrap_or("no dot-product extensions"))
}

/// Quantizes `x` `[m, k]`.
pub(crate) fn quantized(level: Level, precision: Precision, x: &[f32], m: usize, k: usize) -> Vec<u32> {
    let cols = precision.packed_row_len(k);
    let mut packed = vec![0; m * cols];
    quantize(level, precision, MatRef::new(x, m, k), MatMut::new(&mut packed, m, cols));
    packed
}

/// Quantizes x `[m, k]` and W `[n, k]` and returns their product.
#[allow(clippy::too_many_arguments, reason = "a test's shapes")]
pub(crate) fn product(
    level: Level,
    precision: Precision,
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    (m, n, k): (usize, usize, usize),
    epilogue: Epilogue<'_>,
) -> Vec<f32> {
    let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(w, n, k));
    let packed_x = quantized(level, precision, x, m, k);
    let mut out = vec![f32::NAN; m * n];
    let a = MatRef::new(&packed_x, m, precision.packed_row_len(k));
    gemm_quantized(level, a, packed.view(), bias, epilogue, GemmOutput::F32(MatMut::new(&mut out, m, n)));
    out
}

pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Returns pseudo-random numbers between −1 and 1.
pub(crate) fn random_vec(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub(crate) fn shapes() -> impl Strategy<Value = (usize, usize, usize, u32)> {
    (1_usize..30, 1_usize..80, 1_usize..300, any::<u32>())
}
