//! int8: exact sums, and the error of the quantization.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedLayout, QuantizedMatrix, gemm_quantized};
use likewise_kernels::quant::{MAX_INT8_K, Precision};
use likewise_kernels::view::{MatMut, MatRef};
use proptest::prelude::*;

use crate::{bits, label, levels, product, quantized, random_vec, shapes};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Sums of bytes are exact, so all fused levels give the same bits. `Level::REFERENCE` computes
    /// with i64, and its one rounding at the end leaves a difference of a few ulps.
    #[test]
    fn int8_product_on_every_level_equals_exact_sum((m, n, k, seed) in shapes()) {
        let x = random_vec(m * k, seed);
        let w = random_vec(n * k, !seed);
        let bias = random_vec(n, seed ^ 1);
        let expected = product(Level::REFERENCE, Precision::Int8, &x, &w, &bias, (m, n, k), Epilogue::Store);
        let mut fused: Option<Vec<f32>> = None;
        for level in levels() {
            let out = product(level, Precision::Int8, &x, &w, &bias, (m, n, k), Epilogue::Store);
            for (a, b) in out.iter().zip(&expected) {
                prop_assert!((a - b).abs() <= 4e-6 * (1.0 + b.abs()), "{}: {a} {b}", label(level));
            }
            if level.is_fused() {
                let first = fused.get_or_insert_with(|| out.clone());
                prop_assert_eq!(bits(&out), bits(first), "{}", label(level));
            }
        }
    }

    /// Each product errs by half a quantization step of one side times the other factor, and the
    /// errors of K products add up like a random walk. Rows with a rotated part, with a remainder,
    /// and with both: a factor or a rotation that was lost on one side would cause an error as
    /// large as the sum.
    #[test]
    fn int8_product_of_random_rows_stays_near_f32(
        (m, n, seed) in (1_usize..5, 1_usize..20, any::<u32>()),
        k in prop_oneof![1_usize..128, Just(128), Just(384), 129_usize..700],
    ) {
        let x = random_vec(m * k, seed);
        let w = random_vec(n * k, !seed);
        let bias = random_vec(n, seed ^ 1);
        for level in levels() {
            let out = product(level, Precision::Int8, &x, &w, &bias, (m, n, k), Epilogue::Store);
            for (i, out) in out.iter().enumerate() {
                let x = &x[i / n * k..][..k];
                let w = &w[i % n * k..][..k];
                let exact: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>() + bias[i % n];
                // Eight standard deviations of a random walk of K errors of about 0.012 each (half
                // a step of 2/255 and of 1/127, rotated).
                let bound = 8.0 * 0.012 * (k as f32).sqrt();
                prop_assert!((out - exact).abs() <= bound, "{}, k {k}: {out} for {exact}", label(level));
            }
        }
    }

    /// A byte is within a step of its element: half a step, and another half because the zero point
    /// was rounded.
    #[test]
    fn int8_activation_after_round_trip_stays_within_a_step(x in proptest::collection::vec(-1e3_f32..1e3, 1..200), shift in -1e3_f32..1e3) {
        let x: Vec<f32> = x.iter().map(|x| x + shift).collect();
        for level in levels() {
            let row = quantized(level, Precision::Int8, &x, 1, x.len());
            let step = f32::from_bits(row[row.len() - 2]);
            let zero = row[row.len() - 1] as i32;
            let byte = |i: usize| row[i / 4].to_le_bytes()[i % 4];
            // The remainder is not rotated but doubled.
            let whole = x.len() / 128 * 128;
            let mut back: Vec<f32> = (0..x.len()).map(|i| step * (i32::from(byte(i)) - zero) as f32).collect();
            rotate_back(&mut back);
            back[whole..].iter_mut().for_each(|x| *x /= 2.0);
            for (&x, back) in x.iter().zip(back) {
                prop_assert!((back - x).abs() <= step * 1.01, "{level}: {x} became {back}, step {step}");
            }
        }
    }
}

/// Reverts the rotation of blocks of 128: each eight elements that are sixteen apart were replaced
/// by their sums and differences. The same transform again gives eight times the element.
fn rotate_back(x: &mut [f32]) {
    for block in x.chunks_exact_mut(128) {
        let old: Vec<f32> = block.to_vec();
        for (i, x) in block.iter_mut().enumerate() {
            let sign = |j: usize| if ((i / 16) & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
            *x = (0..8).map(|j| sign(j) * old[j * 16 + i % 16]).sum::<f32>() / 8.0;
        }
    }
}

/// Returns the int8 product of given bytes with all scales 1: rows of A with their zero point, and
/// rows of W.
fn product_of_bytes(level: Level, a: &[(Vec<u8>, i32)], w: &[Vec<i8>]) -> Vec<f32> {
    let k = w[0].len();
    let n = w.len();
    let word = |bytes: &[u8]| u32::from_le_bytes(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)));
    let cols = Precision::Int8.packed_row_len(k);
    let mut activations = Vec::new();
    for (bytes, zero) in a {
        activations.extend(bytes.chunks(4).map(word));
        activations.extend([1.0_f32.to_bits(), zero.cast_unsigned()]);
    }
    let layout = PackedLayout::new(level, n, k.div_ceil(4));
    let row = |row: &Vec<i8>| -> Vec<f32> {
        let bytes: Vec<u8> = row.iter().map(|x| x.cast_unsigned()).collect();
        bytes.chunks(4).map(|bytes| f32::from_bits(word(bytes))).collect()
    };
    let rows: Vec<f32> = w.iter().flat_map(row).collect();
    let rows = MatRef::new(&rows, n, layout.k());
    let mut packed = vec![0.0; layout.elements()];
    for mut panel in layout.panels_mut(&mut packed) {
        let range = panel.rows();
        panel.fill(rows.rows_in(range));
    }
    let sums: Vec<i32> = w.iter().map(|row| row.iter().map(|&x| i32::from(x)).sum()).collect();
    let scales = vec![1.0; n];
    let matrix = QuantizedMatrix::new(Precision::Int8, layout.quantized_panels(&packed), &scales, &sums);
    let mut out = vec![0.0; a.len() * n];
    let sink = GemmOutput::F32(MatMut::new(&mut out, a.len(), n));
    gemm_quantized(level, MatRef::new(&activations, a.len(), cols), matrix, &vec![0.0; n], Epilogue::Store, sink);
    out
}

/// Returns the same product in i64.
fn product_in_i64(a: &[(Vec<u8>, i32)], w: &[Vec<i8>]) -> Vec<i64> {
    let dot = |(a, zero): &(Vec<u8>, i32), w: &Vec<i8>| {
        a.iter().zip(w).map(|(&a, &w)| (i64::from(a) - i64::from(*zero)) * i64::from(w)).sum()
    };
    a.iter().flat_map(|a| w.iter().map(move |w| dot(a, w))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Sums of extreme bytes in any order are exact. This would reveal saturation in i16, a lost
    /// sign or a lost byte.
    #[test]
    fn int8_product_of_extreme_bytes_is_exact(
        (m, n, k) in (1_usize..14, 1_usize..40, 1_usize..700),
        choices in proptest::collection::vec(any::<u8>(), 64),
    ) {
        let choice = |i: usize| usize::from(choices[i % 64] ^ choices[i / 64 % 64].rotate_left(3));
        let a: Vec<(Vec<u8>, i32)> = (0..m)
            .map(|r| {
                let bytes = (0..k).map(|i| [0, 255, 255, 254, 1, 128][choice(r * k + i) % 6]).collect();
                (bytes, [0, 255, 128, 127][choice(r) % 4])
            })
            .collect();
        let w: Vec<Vec<i8>> =
            (0..n).map(|c| (0..k).map(|i| [127, -127, 127, -127, 0, 1][choice(c * k + i + 7) % 6]).collect()).collect();
        let expected: Vec<f32> = product_in_i64(&a, &w).into_iter().map(|sum| sum as f32).collect();
        for level in levels() {
            prop_assert_eq!(&product_of_bytes(level, &a, &w), &expected, "{}", label(level));
        }
    }
}

/// The largest sums that an int8 product can have do not overflow.
#[test]
fn int8_product_of_largest_sums_is_exact() {
    for k in [3072, 8192, MAX_INT8_K] {
        for (byte, zero) in [(255, 0), (0, 255), (255, 255), (0, 0)] {
            let a = vec![(vec![byte; k], zero); 3];
            let w: Vec<Vec<i8>> = [127, -127].map(|x| vec![x; k]).into();
            let expected: Vec<f32> = product_in_i64(&a, &w).into_iter().map(|sum| sum as f32).collect();
            for level in levels() {
                assert_eq!(product_of_bytes(level, &a, &w), expected, "{}, {byte} from {zero}, k {k}", label(level));
            }
        }
    }
}

/// Transformers have channels that are far larger than the others, with small weights. A scale that
/// covers such a channel is too coarse for the rest. Rotation makes it finer, so the error is
/// smaller than with the same bytes without rotation.
#[test]
fn int8_rotation_with_outlier_channel_reduces_error() {
    let m = 8;
    let n = 48;
    let k = 384;
    let mut x = random_vec(m * k, 1);
    let mut w = random_vec(n * k, 2);
    x.iter_mut().skip(100).step_by(k).for_each(|x| *x *= 60.0);
    w.iter_mut().skip(100).step_by(k).for_each(|w| *w /= 60.0);
    let without_rotation = |x: &[f32]| -> Vec<f32> {
        let (least, largest) = x.iter().fold((0.0_f32, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
        let step = (largest - least) / 255.0;
        let zero = (-least / step).round();
        x.iter().map(|x| step * ((x / step + zero).round().clamp(0.0, 255.0) - zero)).collect()
    };
    let mut rotated = 0.0;
    let mut plain = 0.0;
    let out = product(Level::best(), Precision::Int8, &x, &w, &vec![0.0; n], (m, n, k), Epilogue::Store);
    for (i, row) in x.chunks_exact(k).enumerate() {
        let bytes = without_rotation(row);
        for (j, w) in w.chunks_exact(k).enumerate() {
            rotated += (f64::from(out[i * n + j]) - exact(row, w)).powi(2);
            plain += (exact(&bytes, w) - exact(row, w)).powi(2);
        }
    }
    println!("errors: rotated {rotated:.3}, plain {plain:.3}");
    assert!(rotated < 0.75 * plain, "rotated {rotated}, plain {plain}");
}

fn exact(x: &[f32], w: &[f32]) -> f64 {
    x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
}
