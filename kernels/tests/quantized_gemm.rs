//! The product of words: bf16 and bytes, on every level, with and without instructions for them.

use likewise_kernels::Level;
use likewise_kernels::gemm::{
    Epilogue, GemmOutput, PackedLayout, PackedQuantizedMatrix, QuantizedMatrix, gemm_quantized,
};
use likewise_kernels::math::{Activation, activate};
use likewise_kernels::quant::{MAX_INT8_K, Precision, quantize};
use likewise_kernels::view::{MatMut, MatRef};
use proptest::prelude::*;

/// What GELU that is rounded may err. It errs by 5.19e-5 where multiply-add rounds twice and by 4.90e-5 where it rounds once: the
/// most of twelve million numbers from -6 to 6.
const GELU: f32 = 5.2e-5;

/// Every level, and those with instructions for words once more with fewer of them.
fn levels() -> Vec<Level> {
    let fewer = |level: Level| std::iter::successors(Some(level), |l| l.without_best_dot_extension());
    Level::available().into_iter().flat_map(fewer).collect()
}

fn label(level: Level) -> String {
    format!("{level} with {}", level.dot_extensions().unwrap_or("no instructions for words"))
}

/// `x` `[m, k]` as words.
fn words(level: Level, precision: Precision, x: &[f32], m: usize, k: usize) -> Vec<u32> {
    let cols = precision.packed_row_len(k);
    let mut words = vec![0; m * cols];
    quantize(level, precision, MatRef::new(x, m, k), MatMut::new(&mut words, m, cols));
    words
}

/// The whole way: x `[m, k]` and W `[n, k]` as f32, their product through words.
#[allow(clippy::too_many_arguments, reason = "a test's shapes")]
fn product(
    level: Level,
    precision: Precision,
    x: &[f32],
    w: &[f32],
    bias: &[f32],
    (m, n, k): (usize, usize, usize),
    epilogue: Epilogue<'_>,
) -> Vec<f32> {
    let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(w, n, k));
    let words = words(level, precision, x, m, k);
    let mut out = vec![f32::NAN; m * n];
    let a = MatRef::new(&words, m, precision.packed_row_len(k));
    gemm_quantized(level, a, packed.matrix(), bias, epilogue, GemmOutput::F32(MatMut::new(&mut out, m, n)));
    out
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Numbers between −1 and 1 that look random.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn shapes() -> impl Strategy<Value = (usize, usize, usize, u32)> {
    (1_usize..30, 1_usize..80, 1_usize..300, any::<u32>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Bytes: sums are exact, so all levels have the same bits. That they are the right ones: `Level::REFERENCE` computes
    /// with i64, and its one rounding at the end leaves a distance of a few units in the last place.
    #[test]
    fn bytes_are_exact((m, n, k, seed) in shapes()) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, !seed), numbers(n, seed ^ 1));
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

    /// Bytes against f32: with steps of both sides, each product errs by half a step times the other factor, and the errors
    /// of K of them add up like a random walk. Rows with a rotated part, with a rest, and with both; a factor that was lost on
    /// one side, or a rotation, would be an error as large as the sum.
    #[test]
    fn bytes_are_near_f32(
        (m, n, seed) in (1_usize..5, 1_usize..20, any::<u32>()),
        k in prop_oneof![1_usize..128, Just(128), Just(384), 129_usize..700],
    ) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, !seed), numbers(n, seed ^ 1));
        for level in levels() {
            let out = product(level, Precision::Int8, &x, &w, &bias, (m, n, k), Epilogue::Store);
            for (i, out) in out.iter().enumerate() {
                let (x, w) = (&x[i / n * k..][..k], &w[i % n * k..][..k]);
                let exact: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>() + bias[i % n];
                // Eight deviations of a walk of K steps, each about 0.012 (half a step of 2/255 and of 1/127, rotated).
                let bound = 8.0 * 0.012 * (k as f32).sqrt();
                prop_assert!((out - exact).abs() <= bound, "{}, k {k}: {out} for {exact}", label(level));
            }
        }
    }

    /// Words of activations are the same on every level: nothing that makes them is fused.
    #[test]
    fn all_levels_make_the_same_words(x in proptest::collection::vec(-1e3_f32..1e3, 1..400), shift in -1e3_f32..1e3) {
        let x: Vec<f32> = x.iter().map(|x| x + shift).collect();
        for precision in [Precision::Bf16, Precision::Int8] {
            let expected = words(Level::REFERENCE, precision, &x, 1, x.len());
            for level in levels() {
                prop_assert_eq!(&words(level, precision, &x, 1, x.len()), &expected, "{} {}", level, precision.name());
            }
        }
    }

    /// bf16: every level with fused multiply-add has the same bits, with the instruction and without.
    #[test]
    fn bf16_has_the_same_bits((m, n, k, seed) in shapes()) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, !seed), numbers(n, seed ^ 1));
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

    /// A row's result depends on that row alone.
    #[test]
    fn rows_are_by_themselves((m, n, k, seed) in shapes()) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, !seed), numbers(n, seed ^ 1));
        for level in levels() {
            for precision in [Precision::Bf16, Precision::Int8] {
                let all = product(level, precision, &x, &w, &bias, (m, n, k), Epilogue::Store);
                let i = seed as usize % m;
                let one = product(level, precision, &x[i * k..][..k], &w, &bias, (1, n, k), Epilogue::Store);
                prop_assert_eq!(bits(&all[i * n..][..n]), bits(&one), "{} {}", label(level), precision.name());
            }
        }
    }

    /// What is written as bf16 is what is written as f32, rounded; with every epilogue.
    #[test]
    fn sinks_agree((m, n, k, seed) in shapes()) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, !seed), numbers(n, seed ^ 1));
        let residual = numbers(m * n, seed ^ 2);
        for level in levels() {
            for epilogue in [
                Epilogue::Store,
                Epilogue::Activate(Activation::Gelu),
                Epilogue::Add(MatRef::new(&residual, m, n)),
            ] {
                let plain = product(level, Precision::Bf16, &x, &w, &bias, (m, n, k), epilogue);
                let packed = PackedQuantizedMatrix::pack(level, Precision::Bf16, MatRef::new(&w, n, k));
                let a = words(level, Precision::Bf16, &x, m, k);
                let a = MatRef::new(&a, m, Precision::Bf16.packed_len(k));
                let cols = n.div_ceil(2);
                let mut out = vec![0; m * cols];
                gemm_quantized(level, a, packed.matrix(), &bias, epilogue, GemmOutput::Bf16(MatMut::new(&mut out, m, cols)));
                prop_assert_eq!(&out, &words(level, Precision::Bf16, &plain, m, n), "{}", label(level));
            }
        }
    }

    /// What follows the product, and some columns of it: as the operators would do it one after another.
    #[test]
    fn epilogues_and_columns((m, n, k, seed) in shapes()) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, !seed), numbers(n, seed ^ 1));
        let residual = numbers(m * n, seed ^ 2);
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
                    // The reference rounds once, at the end.
                    // GELU that will be rounded has fewer digits.
                    let few = matches!(epilogue, Epilogue::Activate(_));
                    let bound = if few { GELU } else { 1e-6 };
                    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= bound * (1.0 + b.abs());
                    let same = if few || level == Level::REFERENCE {
                        out.iter().zip(expected).all(near)
                    } else {
                        bits(&out) == bits(expected)
                    };
                    prop_assert!(same, "{} {}", label(level), precision.name());
                }
                // Every range that begins at a panel.
                let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&w, n, k));
                let a = words(level, precision, &x, m, k);
                let a = MatRef::new(&a, m, precision.packed_row_len(k));
                for first in (0..n).step_by(level.panel_width()) {
                    for end in [n, (first + level.panel_width()).min(n)] {
                        let mut out = vec![0.0; m * (end - first)];
                        let sink = GemmOutput::F32(MatMut::new(&mut out, m, end - first));
                        let part = packed.matrix().columns(first..end);
                        gemm_quantized(level, a, part, &bias[first..end], Epilogue::Store, sink);
                        for (out, plain) in out.chunks_exact(end - first).zip(plain.chunks_exact(n)) {
                            prop_assert_eq!(bits(out), bits(&plain[first..end]), "{} {}..{}", label(level), first, end);
                        }
                    }
                }
            }
        }
    }

    /// A byte is within a step of its number: half a step, and another half where the zero point was rounded.
    #[test]
    fn bytes_are_near(x in proptest::collection::vec(-1e3_f32..1e3, 1..200), shift in -1e3_f32..1e3) {
        let x: Vec<f32> = x.iter().map(|x| x + shift).collect();
        for level in levels() {
            let row = words(level, Precision::Int8, &x, 1, x.len());
            let (step, zero) = (f32::from_bits(row[row.len() - 2]), row[row.len() - 1] as i32);
            let byte = |i: usize| row[i / 4].to_le_bytes()[i % 4];
            // What is not rotated is doubled.
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

/// Blocks of 128 lie rotated: each eight numbers that stand sixteen apart as their sums and differences, which done twice
/// gives eight times the number.
fn rotate_back(x: &mut [f32]) {
    for block in x.chunks_exact_mut(128) {
        let old: Vec<f32> = block.to_vec();
        for (i, x) in block.iter_mut().enumerate() {
            let sign = |j: usize| if ((i / 16) & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
            *x = (0..8).map(|j| sign(j) * old[j * 16 + i % 16]).sum::<f32>() / 8.0;
        }
    }
}

/// The product of bytes as they are given, with all scales 1: rows of A with their zero point, and rows of W.
fn product_of_bytes(level: Level, a: &[(Vec<u8>, i32)], w: &[Vec<i8>]) -> Vec<f32> {
    let (k, n) = (w[0].len(), w.len());
    let word = |bytes: &[u8]| u32::from_le_bytes(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)));
    let cols = Precision::Int8.packed_row_len(k);
    let mut words = Vec::new();
    for (bytes, zero) in a {
        words.extend(bytes.chunks(4).map(word));
        words.extend([1.0_f32.to_bits(), zero.cast_unsigned()]);
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
    gemm_quantized(level, MatRef::new(&words, a.len(), cols), matrix, &vec![0.0; n], Epilogue::Store, sink);
    out
}

/// The same in i64.
fn product_in_i64(a: &[(Vec<u8>, i32)], w: &[Vec<i8>]) -> Vec<i64> {
    let dot = |(a, zero): &(Vec<u8>, i32), w: &Vec<i8>| {
        a.iter().zip(w).map(|(&a, &w)| (i64::from(a) - i64::from(*zero)) * i64::from(w)).sum()
    };
    a.iter().flat_map(|a| w.iter().map(move |w| dot(a, w))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Bytes at their extremes, in any order: every sum is exact. Saturation in i16, a lost sign or a lost byte would show.
    #[test]
    fn bytes_at_their_extremes(
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

/// The largest sums there can be.
#[test]
fn the_largest_sums() {
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

/// A row that is not a number does not become one, and an empty or tiny one is zero.
#[test]
fn rows_that_are_not_numbers() {
    for level in levels() {
        for precision in [Precision::Bf16, Precision::Int8] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 3, 17, 39] {
                    let mut x = numbers(40, 5);
                    x[at] = bad;
                    let out =
                        product(level, precision, &x, &numbers(40 * 3, 6), &[0.0; 3], (1, 3, 40), Epilogue::Store);
                    assert!(out.iter().all(|x| !x.is_finite()), "{} {}: {out:?}", label(level), precision.name());
                }
            }
            for small in [0.0, 1e-40, -1e-45] {
                let out =
                    product(level, precision, &[small; 40], &numbers(40, 6), &[0.25], (1, 1, 40), Epilogue::Store);
                assert_eq!(out, [0.25], "{} {}: {small}", label(level), precision.name());
            }
            let nothing = product(level, precision, &[], &[], &[0.25, 0.5], (1, 2, 0), Epilogue::Store);
            assert_eq!(nothing, [0.25, 0.5], "{} {}", label(level), precision.name());
        }
    }
}

/// Rounding to bf16: to the nearest, to even between two; NaN stays NaN, and what is too large becomes infinite.
#[test]
fn rounding_to_bf16() {
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
            let both = words(level, Precision::Bf16, &[x, x, x], 1, 3);
            assert_eq!(both, [expected | expected << 16, expected], "{level}: {x}");
        }
    }
}

/// One channel far larger than the others, as transformers have them, with small weights: a step that reaches it is too wide
/// for the rest. Rotated it is narrower, so the error is less than the same bytes would have without rotation.
#[test]
fn a_large_channel_does_not_drown_the_others() {
    let (m, n, k) = (8, 48, 384);
    let (mut x, mut w) = (numbers(m * k, 1), numbers(n * k, 2));
    x.iter_mut().skip(100).step_by(k).for_each(|x| *x *= 60.0);
    w.iter_mut().skip(100).step_by(k).for_each(|w| *w /= 60.0);
    let plainly = |x: &[f32]| -> Vec<f32> {
        let (least, largest) = x.iter().fold((0.0_f32, 0.0_f32), |(a, b), &x| (a.min(x), b.max(x)));
        let step = (largest - least) / 255.0;
        let zero = (-least / step).round();
        x.iter().map(|x| step * ((x / step + zero).round().clamp(0.0, 255.0) - zero)).collect()
    };
    let (mut rotated, mut plain) = (0.0, 0.0);
    let out = product(Level::best(), Precision::Int8, &x, &w, &vec![0.0; n], (m, n, k), Epilogue::Store);
    for (i, row) in x.chunks_exact(k).enumerate() {
        let bytes = plainly(row);
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

/// GELU after a product of words: of numbers from everywhere, and densely where it bends. The weights are zero, so it is that
/// of the bias.
#[test]
fn gelu_that_is_rounded() {
    [Precision::Bf16, Precision::Int8].into_iter().for_each(check_gelu);
}

fn check_gelu(precision: Precision) {
    let everywhere = (0..1 << 13).map(|i| f32::from_bits(i << 19 | 0x1_2345)).filter(|x| x.abs() < 1e30);
    let densely = (-60_000..60_000).map(|i| i as f32 / 10_000.0);
    // The largest errors of all.
    let densely = densely.chain((-4_200_000..-4_150_000).map(|i| i as f32 / 1_000_000.0));
    // Numbers below the smallest normal one are zero to VDPBF16PS.
    let x: Vec<f32> = everywhere.chain(densely).filter(|x| x.is_normal()).collect();
    let exact = gelu_of(Level::REFERENCE, precision, &x);
    let mut fused: Option<Vec<u32>> = None;
    for level in levels() {
        let got = gelu_of(level, precision, &x);
        let bound = GELU;
        let mut worst = (0.0, 0.0);
        for ((&x, got), exact) in x.iter().zip(&got).zip(&exact) {
            // Of large x, GELU is x or 0, up to a rounding.
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
    let (a, mut out) = (words(level, precision, &[1.0; 4], 1, 4), vec![0.0; x.len()]);
    let (a, sink) = (MatRef::new(&a, 1, a.len()), GemmOutput::F32(MatMut::new(&mut out, 1, x.len())));
    gemm_quantized(level, a, packed.matrix(), x, Epilogue::Activate(Activation::Gelu), sink);
    out
}

/// What does not fit is a mistake of the program, and says so.
#[test]
fn what_does_not_fit_panics() {
    let level = Level::best();
    let w = numbers(4 * 8, 1);
    let run = |words: usize, n: usize, bias: usize, precision: Precision| {
        let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&w, 4, 8));
        std::panic::catch_unwind(|| {
            let (a, bias, mut out) = (vec![0; 2 * words], vec![0.0; bias], vec![0.0; 2 * n]);
            let sink = GemmOutput::F32(MatMut::new(&mut out, 2, n));
            gemm_quantized(level, MatRef::new(&a, 2, words), packed.matrix(), &bias, Epilogue::Store, sink);
        })
        .is_ok()
    };
    assert!(run(4, 4, 4, Precision::Int8) && run(4, 4, 4, Precision::Bf16));
    for (words, n, bias) in [(3, 4, 4), (5, 4, 4), (4, 3, 4), (4, 5, 4), (4, 4, 3), (4, 4, 5)] {
        assert!(!run(words, n, bias, Precision::Int8), "{words} words, {n} outputs, {bias} biases");
    }
    let panics = |run: &(dyn Fn() + std::panic::RefUnwindSafe)| std::panic::catch_unwind(run).is_err();
    assert!(
        panics(&|| drop(PackedQuantizedMatrix::pack(level, Precision::F32, MatRef::new(&[0.0; 8], 1, 8)))),
        "f32 has no words"
    );
    let long = vec![0.0; MAX_INT8_K + 1];
    let row = MatRef::new(&long, 1, long.len());
    assert!(panics(&|| drop(PackedQuantizedMatrix::pack(level, Precision::Int8, row))), "sums that would not be i32");
    for precision in Precision::ALL {
        let cols = precision.packed_row_len(8) + usize::from(precision != Precision::F32);
        let quantize =
            || quantize(level, precision, MatRef::new(&[0.0; 8], 1, 8), MatMut::new(&mut vec![0; cols], 1, cols));
        assert!(panics(&quantize), "{} of another shape, or of none", precision.name());
    }
}
