//! What bf16 and int8 have in common.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedQuantizedMatrix, gemm_quantized};
use likewise_kernels::math::{Activation, activate};
use likewise_kernels::quant::{MAX_INT8_K, Precision, quantize};
use likewise_kernels::view::{MatMut, MatRef};
use proptest::prelude::*;

use crate::{MAX_GELU_ERROR, bits, label, levels, product, quantized, random_vec, shapes};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Packed activations are the same on every level, because quantization uses no fused
    /// operation.
    #[test]
    fn quantize_on_every_level_gives_same_bits(x in proptest::collection::vec(-1e3_f32..1e3, 1..400), shift in -1e3_f32..1e3) {
        let x: Vec<f32> = x.iter().map(|x| x + shift).collect();
        for precision in [Precision::Bf16, Precision::Int8] {
            let expected = quantized(Level::REFERENCE, precision, &x, 1, x.len());
            for level in levels() {
                prop_assert_eq!(&quantized(level, precision, &x, 1, x.len()), &expected, "{} {}", level, precision.name());
            }
        }
    }

    /// A row's result depends on that row alone, not on the batch.
    #[test]
    fn quantized_row_in_any_batch_keeps_its_bits((m, n, k, seed) in shapes()) {
        let x = random_vec(m * k, seed);
        let w = random_vec(n * k, !seed);
        let bias = random_vec(n, seed ^ 1);
        for level in levels() {
            for precision in [Precision::Bf16, Precision::Int8] {
                let all = product(level, precision, &x, &w, &bias, (m, n, k), Epilogue::Store);
                let i = seed as usize % m;
                let one = product(level, precision, &x[i * k..][..k], &w, &bias, (1, n, k), Epilogue::Store);
                prop_assert_eq!(bits(&all[i * n..][..n]), bits(&one), "{} {}", label(level), precision.name());
            }
        }
    }

    /// Epilogues and column ranges give the result of the separate operators.
    #[test]
    fn quantized_epilogues_and_column_ranges_equal_separate_operators((m, n, k, seed) in shapes()) {
        let x = random_vec(m * k, seed);
        let w = random_vec(n * k, !seed);
        let bias = random_vec(n, seed ^ 1);
        let residual = random_vec(m * n, seed ^ 2);
        for level in levels() {
            for precision in [Precision::Bf16, Precision::Int8] {
                let plain = product(level, precision, &x, &w, &bias, (m, n, k), Epilogue::Store);
                let mut activated = plain.clone();
                activate(level, Activation::Gelu, MatMut::new(&mut activated, m, n));
                let added: Vec<f32> = plain.iter().zip(&residual).map(|(a, b)| a + b).collect();
                for (epilogue, expected) in [
                    (Epilogue::Activate(Activation::Gelu), &activated),
                    (Epilogue::Add(MatRef::new(&residual, m, n)), &added),
                ] {
                    let out = product(level, precision, &x, &w, &bias, (m, n, k), epilogue);
                    // The quantized GELU has fewer digits, and the reference level rounds once, at
                    // the end.
                    let is_gelu = matches!(epilogue, Epilogue::Activate(_));
                    let bound = if is_gelu { MAX_GELU_ERROR } else { 1e-6 };
                    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= bound * (1.0 + b.abs());
                    let same = if is_gelu || level == Level::REFERENCE {
                        out.iter().zip(expected).all(near)
                    } else {
                        bits(&out) == bits(expected)
                    };
                    prop_assert!(same, "{} {}", label(level), precision.name());
                }
                // Every range that starts at a panel.
                let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&w, n, k));
                let a = quantized(level, precision, &x, m, k);
                let a = MatRef::new(&a, m, precision.packed_row_len(k));
                for first in (0..n).step_by(level.panel_width()) {
                    for end in [n, (first + level.panel_width()).min(n)] {
                        let mut out = vec![0.0; m * (end - first)];
                        let sink = GemmOutput::F32(MatMut::new(&mut out, m, end - first));
                        let part = packed.view().columns(first..end);
                        gemm_quantized(level, a, part, &bias[first..end], Epilogue::Store, sink);
                        for (out, plain) in out.chunks_exact(end - first).zip(plain.chunks_exact(n)) {
                            prop_assert_eq!(bits(out), bits(&plain[first..end]), "{} {}..{}", label(level), first, end);
                        }
                    }
                }
            }
        }
    }
}

/// A row with NaN or infinity has no finite result; an empty row and one of tiny elements count as
/// zero.
#[test]
fn quantized_row_with_nan_or_zero_keeps_it() {
    for level in levels() {
        for precision in [Precision::Bf16, Precision::Int8] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 3, 17, 39] {
                    let mut x = random_vec(40, 5);
                    x[at] = bad;
                    let out =
                        product(level, precision, &x, &random_vec(40 * 3, 6), &[0.0; 3], (1, 3, 40), Epilogue::Store);
                    assert!(out.iter().all(|x| !x.is_finite()), "{} {}: {out:?}", label(level), precision.name());
                }
            }
            for small in [0.0, 1e-40, -1e-45] {
                let out =
                    product(level, precision, &[small; 40], &random_vec(40, 6), &[0.25], (1, 1, 40), Epilogue::Store);
                assert_eq!(out, [0.25], "{} {}: {small}", label(level), precision.name());
            }
            let nothing = product(level, precision, &[], &[], &[0.25, 0.5], (1, 2, 0), Epilogue::Store);
            assert_eq!(nothing, [0.25, 0.5], "{} {}", label(level), precision.name());
        }
    }
}

/// Mismatched shapes, precisions and lengths are programming errors and panic.
#[test]
fn gemm_quantized_with_mismatched_arguments_panics() {
    let level = Level::best();
    let w = random_vec(4 * 8, 1);
    let run = |row_len: usize, n: usize, bias: usize, precision: Precision| {
        let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&w, 4, 8));
        std::panic::catch_unwind(|| {
            let a = vec![0; 2 * row_len];
            let bias = vec![0.0; bias];
            let mut out = vec![0.0; 2 * n];
            let sink = GemmOutput::F32(MatMut::new(&mut out, 2, n));
            gemm_quantized(level, MatRef::new(&a, 2, row_len), packed.view(), &bias, Epilogue::Store, sink);
        })
        .is_ok()
    };
    assert!(run(4, 4, 4, Precision::Int8) && run(4, 4, 4, Precision::Bf16));
    for (row_len, n, bias) in [(3, 4, 4), (5, 4, 4), (4, 3, 4), (4, 5, 4), (4, 4, 3), (4, 4, 5)] {
        assert!(!run(row_len, n, bias, Precision::Int8), "packed rows of {row_len}, {n} outputs, {bias} biases");
    }
    let panics = |run: &(dyn Fn() + std::panic::RefUnwindSafe)| std::panic::catch_unwind(run).is_err();
    assert!(
        panics(&|| drop(PackedQuantizedMatrix::pack(level, Precision::F32, MatRef::new(&[0.0; 8], 1, 8)))),
        "f32 is not a quantized precision"
    );
    let long = vec![0.0; MAX_INT8_K + 1];
    let row = MatRef::new(&long, 1, long.len());
    assert!(panics(&|| drop(PackedQuantizedMatrix::pack(level, Precision::Int8, row))), "sums that could overflow i32");
    for precision in Precision::ALL {
        let cols = precision.packed_row_len(8) + usize::from(precision != Precision::F32);
        let quantize =
            || quantize(level, precision, MatRef::new(&[0.0; 8], 1, 8), MatMut::new(&mut vec![0; cols], 1, cols));
        assert!(panics(&quantize), "{}: mismatched shape, or f32", precision.name());
    }
}
