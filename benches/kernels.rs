//! Each kernel on each level, on one thread, as a fraction of the peak. Every answer is compared with that of the
//! reference level before it is timed.
//!
//!     cargo bench --bench kernels                  all, some five minutes
//!     cargo bench --bench kernels -- avx512/gemm   some
//!
//! A product is counted as 2·M·N·K operations, its epilogue as none. The others are counted as their arithmetic is written
//! (a multiply-add is two; comparisons and selections are none), so a fraction near that of the matmul says that a kernel
//! keeps the arithmetic units as busy.

mod peak_fraction;

use std::hint::black_box;

use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, Throughput};
use likewise_kernels::Level;
use likewise_kernels::memory::AlignedScratch;
use likewise_kernels::gemm::{
    Epilogue, GemmOutput, PackedMatrix, PackedQuantizedMatrix, Panels, gemm, gemm_quantized,
};
use likewise_kernels::layer_norm::layer_norm;
use likewise_kernels::math::{Activation, activate};
use likewise_kernels::quant::{Precision, quantize};
use likewise_kernels::softmax::{ScoreTransform, softmax};
use likewise_kernels::view::{MatMut, MatRef, padded_stride};

/// Operations for each number.
const GELU: usize = 49;
const SOFTMAX: usize = 27;
const LAYER_NORM: usize = 7;

/// Bounds of errors. After words GELU has fewer digits (`math`).
const BOUND: f32 = 2e-5;
const WORDS_BOUND: f32 = 6e-5;

/// Numbers between −1 and 1 without a pattern.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A kernel's output on a level.
type Kernel<'a> = Box<dyn FnMut(&mut Vec<f32>) + 'a>;

/// Checks a kernel's answer against the reference's, then times it. `bound`: of the error, as a fraction of numbers beyond 1.
fn check_and_time<M: Measurement>(
    group: &mut BenchmarkGroup<'_, M>,
    name: &str,
    operations: usize,
    bound: f32,
    mut run: Kernel<'_>,
    mut reference: Kernel<'_>,
) {
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    run(&mut out);
    reference(&mut expected);
    assert_eq!(out.len(), expected.len(), "{name}");
    for (i, (a, b)) in out.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= bound * b.abs().max(1.0), "{name}: number {i} is {a}, not {b}");
    }
    group.throughput(Throughput::Elements(operations as u64));
    group.bench_function(name, |bencher| bencher.iter(|| run(black_box(&mut out))));
}

/// The product of x `[M, K]` with packed weights, as a linear layer makes it.
fn linear<'a>(level: Level, m: usize, n: usize, k: usize, kind: &'a str) -> Kernel<'a> {
    let (x_stride, stride) = (padded_stride(k), padded_stride(n));
    let (x, w, bias, residual) = (numbers(m * x_stride), numbers(n * k), numbers(n), numbers(m * stride));
    let packed = PackedMatrix::pack(level, MatRef::new(&w, n, k));
    Box::new(move |out| {
        out.resize(m * stride, 0.0);
        let epilogue = match kind {
            "GELU" => Epilogue::Activate(Activation::Gelu),
            "residual" => Epilogue::Add(MatRef::with_stride(&residual, m, n, stride)),
            _ => Epilogue::Store,
        };
        let view = MatMut::with_stride(out, m, n, stride);
        gemm(level, MatRef::with_stride(&x, m, k, x_stride), packed.panels(), Some(&bias), epilogue, view);
    })
}

/// The same through words, whose activations are rounded before.
fn linear_of_words<'a>(level: Level, precision: Precision, m: usize, n: usize, k: usize, kind: &'a str) -> Kernel<'a> {
    let (cols, stride) = (precision.packed_row_len(k), padded_stride(n));
    let words_stride = padded_stride(cols);
    let (x, w, bias, residual) = (numbers(m * k), numbers(n * k), numbers(n), numbers(m * stride));
    let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&w, n, k));
    let mut words = vec![0; m * words_stride];
    quantize(level, precision, MatRef::new(&x, m, k), MatMut::with_stride(&mut words, m, cols, words_stride));
    Box::new(move |out| {
        out.resize(m * stride, 0.0);
        let epilogue = match kind {
            "GELU" => Epilogue::Activate(Activation::Gelu),
            "residual" => Epilogue::Add(MatRef::with_stride(&residual, m, n, stride)),
            _ => Epilogue::Store,
        };
        let view = GemmOutput::F32(MatMut::with_stride(out, m, n, stride));
        let a = MatRef::with_stride(&words, m, cols, words_stride);
        gemm_quantized(level, a, packed.matrix(), &bias, epilogue, view);
    })
}

/// Scores and context of one head of width d: packing the keys, both products, softmax.
fn head<'a>(level: Level, tokens: usize, d: usize) -> Kernel<'a> {
    let qkv = numbers(tokens * 3 * d);
    let columns = tokens.next_multiple_of(level.panel_width());
    let (mut keys, mut values, mut scores) =
        (AlignedScratch::default(), AlignedScratch::default(), vec![0.0; tokens * columns]);
    Box::new(move |out| {
        out.resize(tokens * d, 0.0);
        let part = |i: usize| MatRef::new(&qkv, tokens, 3 * d).cols_in(i * d..(i + 1) * d);
        let packed = Panels::transposed(level, part(1), &mut keys);
        gemm(level, part(0), packed, None, Epilogue::Store, MatMut::new(&mut scores, tokens, columns));
        let scale = ScoreTransform { scale: 1.0 / (d as f32).sqrt(), bias: &[], start: 0 };
        softmax(level, MatMut::new(&mut scores, tokens, columns), tokens, scale);
        let values = Panels::in_place(level, part(2)).unwrap_or_else(|| Panels::copied(level, part(2), &mut values));
        let p = MatRef::with_stride(&scores, tokens, tokens, columns);
        gemm(level, p, values, None, Epilogue::Store, MatMut::new(out, tokens, d));
    })
}

fn gelu<'a>(level: Level, count: usize) -> Kernel<'a> {
    let x: Vec<f32> = numbers(count).iter().map(|x| 4.0 * x).collect();
    Box::new(move |out| {
        out.clone_from(&x);
        activate(level, Activation::Gelu, MatMut::new(out, 1, count));
    })
}

fn soft<'a>(level: Level, rows: usize, cols: usize) -> Kernel<'a> {
    let x = numbers(rows * cols);
    Box::new(move |out| {
        out.clone_from(&x);
        softmax(level, MatMut::new(out, rows, cols), cols, ScoreTransform { scale: 1.0, bias: &[], start: 0 });
    })
}

fn norm<'a>(level: Level, rows: usize, cols: usize) -> Kernel<'a> {
    let (x, weight, bias) = (numbers(rows * cols), numbers(cols), numbers(cols));
    Box::new(move |out| {
        out.resize(rows * cols, 0.0);
        layer_norm(level, MatRef::new(&x, rows, cols), &weight, &bias, 1e-5, MatMut::new(out, rows, cols));
    })
}

fn main() {
    let mut criterion = peak_fraction::criterion();
    for level in Level::available().into_iter().filter(|&level| level != Level::REFERENCE) {
        let shapes = [
            ("mpnet-base, queries keys values", 192, 2304, 768, "store"),
            ("mpnet-base, up with GELU", 192, 3072, 768, "GELU"),
            ("mpnet-base, down with residual", 192, 768, 3072, "residual"),
            ("MiniLM, queries keys values", 192, 1152, 384, "store"),
            ("MiniLM, up with GELU", 192, 1536, 384, "GELU"),
            ("MiniLM, down with residual", 192, 384, 1536, "residual"),
            ("mpnet-base, down, one sentence", 7, 768, 3072, "residual"),
        ];
        for precision in [Precision::Bf16, Precision::Int8] {
            peak_fraction::measure_peak(level, precision, 1);
            let mut group = criterion.benchmark_group(format!("{level}/gemm {}", precision.name()));
            for (name, m, n, k, kind) in shapes {
                let run = |level| linear_of_words(level, precision, m, n, k, kind);
                check_and_time(&mut group, name, 2 * m * n * k, WORDS_BOUND, run(level), run(Level::REFERENCE));
            }
            group.apply_epilogue();
        }
        peak_fraction::measure_peak(level, Precision::F32, 1);
        let mut group = criterion.benchmark_group(format!("{level}/gemm"));
        for (name, m, n, k, kind) in shapes {
            let (run, reference) = (linear(level, m, n, k, kind), linear(Level::REFERENCE, m, n, k, kind));
            check_and_time(&mut group, name, 2 * m * n * k, BOUND, run, reference);
        }
        group.apply_epilogue();
        let mut group = criterion.benchmark_group(format!("{level}/head"));
        for (tokens, d) in [(16, 32), (128, 32), (16, 64), (128, 64), (384, 64)] {
            let (run, reference) = (head(level, tokens, d), head(Level::REFERENCE, tokens, d));
            check_and_time(
                &mut group,
                &format!("{tokens} tokens, width {d}"),
                4 * tokens * tokens * d,
                BOUND,
                run,
                reference,
            );
        }
        group.apply_epilogue();
        let mut group = criterion.benchmark_group(format!("{level}/rows"));
        let pair = |kernel: fn(Level, usize, usize) -> Kernel<'static>, rows, cols| {
            (kernel(level, rows, cols), kernel(Level::REFERENCE, rows, cols))
        };
        let (run, reference) = pair(|level, rows, cols| gelu(level, rows * cols), 4, 3072);
        check_and_time(&mut group, "GELU", 4 * 3072 * GELU, BOUND, run, reference);
        let (run, reference) = pair(soft, 12, 128);
        check_and_time(&mut group, "softmax, 12 by 128", 12 * 128 * SOFTMAX, BOUND, run, reference);
        let (run, reference) = pair(norm, 12, 768);
        check_and_time(&mut group, "layer norm, 12 by 768", 12 * 768 * LAYER_NORM, BOUND, run, reference);
        group.apply_epilogue();
    }
    criterion.final_summary();
}
