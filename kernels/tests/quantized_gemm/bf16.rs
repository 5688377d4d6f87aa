//! bf16: the same bits on all fused levels, and the rounding.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedQuantizedMatrix, gemm_quantized};
use likewise_kernels::math::Activation;
use likewise_kernels::quant::Precision;
use likewise_kernels::view::{MatMut, MatRef};
use proptest::prelude::*;

use crate::{bits, label, levels, product, quantized, random_vec, shapes};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Every level with fused multiply-add gives the same bits, with the bf16 instruction and
    /// without.
    #[test]
    fn bf16_product_on_fused_levels_gives_same_bits((m, n, k, seed) in shapes()) {
        let x = random_vec(m * k, seed);
        let w = random_vec(n * k, !seed);
        let bias = random_vec(n, seed ^ 1);
        let expected = product(Level::REFERENCE, Precision::Bf16, &x, &w, &bias, (m, n, k), Epilogue::Store);
        let mut fused: Option<Vec<f32>> = None;
        for level in levels() {
            let out = product(level, Precision::Bf16, &x, &w, &bias, (m, n, k), Epilogue::Store);
            for (a, b) in out.iter().zip(&expected) {
                prop_assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "{}: {a} {b}", label(level));
            }
            if level.is_fused() {
                let first = fused.get_or_insert_with(|| out.clone());
                prop_assert_eq!(bits(&out), bits(first), "{}", label(level));
            }
        }
    }

    /// With every epilogue, a bf16 output is the f32 output after rounding.
    #[test]
    fn bf16_output_equals_rounded_f32_output((m, n, k, seed) in shapes()) {
        let x = random_vec(m * k, seed);
        let w = random_vec(n * k, !seed);
        let bias = random_vec(n, seed ^ 1);
        let residual = random_vec(m * n, seed ^ 2);
        for level in levels() {
            for epilogue in [
                Epilogue::Store,
                Epilogue::Activate(Activation::Gelu),
                Epilogue::Add(MatRef::new(&residual, m, n)),
            ] {
                let plain = product(level, Precision::Bf16, &x, &w, &bias, (m, n, k), epilogue);
                let packed = PackedQuantizedMatrix::pack(level, Precision::Bf16, MatRef::new(&w, n, k));
                let a = quantized(level, Precision::Bf16, &x, m, k);
                let a = MatRef::new(&a, m, Precision::Bf16.packed_len(k));
                let cols = n.div_ceil(2);
                let mut out = vec![0; m * cols];
                gemm_quantized(level, a, packed.view(), &bias, epilogue, GemmOutput::Bf16(MatMut::new(&mut out, m, cols)));
                prop_assert_eq!(&out, &quantized(level, Precision::Bf16, &plain, m, n), "{}", label(level));
            }
        }
    }
}

/// Rounds to the nearest, ties to even; NaN stays NaN, and numbers that are too large become
/// infinite.
#[test]
fn quantize_bf16_rounds_to_nearest_even() {
    for (x, expected) in [
        (1.0, 0x3f80),
        (f32::from_bits(0x3f80_8000), 0x3f80),
        (f32::from_bits(0x3f80_8001), 0x3f81),
        (f32::from_bits(0x3f81_8000), 0x3f82),
        (f32::from_bits(0x3f81_7fff), 0x3f81),
        (-2.5, 0xc020),
        (f32::MAX, 0x7f80),
        (f32::INFINITY, 0x7f80),
        (f32::NEG_INFINITY, 0xff80),
        (-0.0, 0x8000),
        (f32::NAN, 0x7fc0),
        (f32::from_bits(0x7f80_0001), 0x7fc0),
    ] {
        for level in levels() {
            let both = quantized(level, Precision::Bf16, &[x, x, x], 1, 3);
            assert_eq!(both, [expected | expected << 16, expected], "{level}: {x}");
        }
    }
}
