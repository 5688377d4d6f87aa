//! GELU of a quantized product.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedQuantizedMatrix, gemm_quantized};
use likewise_kernels::math::Activation;
use likewise_kernels::quant::Precision;
use likewise_kernels::view::{MatMut, MatRef};

use crate::{MAX_GELU_ERROR, bits, label, levels, quantized};

/// GELU after a quantized product, over all magnitudes, and densely where the function bends. The
/// weights are zero, so the result is the GELU of the bias.
#[test]
fn quantized_gelu_over_all_magnitudes_stays_within_bound() {
    [Precision::Bf16, Precision::Int8].into_iter().for_each(check_gelu);
}

fn check_gelu(precision: Precision) {
    let everywhere = (0..1 << 13).map(|i| f32::from_bits(i << 19 | 0x1_2345)).filter(|x| x.abs() < 1e30);
    let densely = (-60_000..60_000).map(|i| i as f32 / 10_000.0);
    // The range of the largest errors.
    let densely = densely.chain((-4_200_000..-4_150_000).map(|i| i as f32 / 1_000_000.0));
    // VDPBF16PS treats subnormal numbers as zero.
    let x: Vec<f32> = everywhere.chain(densely).filter(|x| x.is_normal()).collect();
    let exact = gelu_of(Level::REFERENCE, precision, &x);
    let mut fused: Option<Vec<u32>> = None;
    for level in levels() {
        let got = gelu_of(level, precision, &x);
        let bound = MAX_GELU_ERROR;
        let mut worst = (0.0, 0.0);
        for ((&x, got), exact) in x.iter().zip(&got).zip(&exact) {
            // For large |x|, GELU is x or 0 up to a rounding.
            let error = (got - exact).abs() / exact.abs().max(1.0);
            worst = if error > worst.0 { (error, x) } else { worst };
            assert!(x > -5.0 || *got == 0.0 || level == Level::REFERENCE, "{}: GELU({x}) = {got}", label(level));
        }
        println!(
            "{}: error {:.2e} at {}, {:.0} % of {bound:.0e}",
            label(level),
            worst.0,
            worst.1,
            100.0 * worst.0 / bound
        );
        assert!(worst.0 <= bound, "{}: {worst:?}", label(level));
        if level.is_fused() {
            assert_eq!(&bits(&got), fused.get_or_insert_with(|| bits(&got)), "{}", label(level));
        }
    }
}

fn gelu_of(level: Level, precision: Precision, x: &[f32]) -> Vec<f32> {
    let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&vec![0.0; 4 * x.len()], x.len(), 4));
    let a = quantized(level, precision, &[1.0; 4], 1, 4);
    let mut out = vec![0.0; x.len()];
    let a = MatRef::new(&a, 1, a.len());
    let sink = GemmOutput::F32(MatMut::new(&mut out, 1, x.len()));
    gemm_quantized(level, a, packed.view(), x, Epilogue::Activate(Activation::Gelu), sink);
    out
}
