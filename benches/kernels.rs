//! Times each kernel on each level, on one thread, as a fraction of the peak. Before timing, each
//! result is compared with that of the reference level.
//!
//!     cargo bench --bench kernels                  all, about five minutes
//!     cargo bench --bench kernels -- avx512/gemm   some
//!
//! A product counts as 2·M·N·K operations, its epilogue as none. The other kernels count as their
//! arithmetic is written (a multiply-add is two; comparisons and selections are none). So a
//! fraction near that of the GEMM means that a kernel keeps the arithmetic units as busy.

mod peak_fraction;

use std::hint::black_box;

use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedMatrix, PackedQuantizedMatrix, Panels, gemm, gemm_quantized};
use likewise_kernels::layer_norm::layer_norm;
use likewise_kernels::math::{Activation, activate};
use likewise_kernels::memory::AlignedScratch;
use likewise_kernels::quant::{Precision, quantize};
use likewise_kernels::softmax::{ScoreTransform, softmax};
use likewise_kernels::view::{MatMut, MatRef, padded_stride};

use peak_fraction::PeakFraction;

/// Operations per element.
const GELU_OPERATIONS: usize = 49;
const SOFTMAX_OPERATIONS: usize = 27;
const LAYER_NORM_OPERATIONS: usize = 7;

/// Largest errors. The GELU of a quantized product has fewer digits (`math`).
const MAX_ERROR: f32 = 2e-5;
const MAX_QUANTIZED_ERROR: f32 = 6e-5;

/// The shapes of linear layers: name, M, N, K, epilogue.
const SHAPES: [(&str, usize, usize, usize, &str); 7] = [
    ("mpnet-base, queries keys values", 192, 2304, 768, "store"),
    ("mpnet-base, up with GELU", 192, 3072, 768, "GELU"),
    ("mpnet-base, down with residual", 192, 768, 3072, "residual"),
    ("MiniLM, queries keys values", 192, 1152, 384, "store"),
    ("MiniLM, up with GELU", 192, 1536, 384, "GELU"),
    ("MiniLM, down with residual", 192, 384, 1536, "residual"),
    ("mpnet-base, down, one sentence", 7, 768, 3072, "residual"),
];

/// Returns pseudo-random numbers between −1 and 1.
fn random_vec(count: usize) -> Vec<f32> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A kernel with its input on a level; it writes its output to the vector.
type Kernel<'a> = Box<dyn FnMut(&mut Vec<f32>) + 'a>;

/// Compares a kernel's result with the reference level's, then times it. `max_error` is relative
/// for elements above 1.
fn check_and_time<M: Measurement>(
    group: &mut BenchmarkGroup<'_, M>,
    name: &str,
    operations: usize,
    max_error: f32,
    mut run: Kernel<'_>,
    mut reference: Kernel<'_>,
) {
    let mut out = Vec::new();
    let mut expected = Vec::new();
    run(&mut out);
    reference(&mut expected);
    assert_eq!(out.len(), expected.len(), "{name}");
    for (i, (a, b)) in out.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= max_error * b.abs().max(1.0), "{name}: element {i} is {a}, not {b}");
    }
    group.throughput(Throughput::Elements(operations as u64));
    group.bench_function(name, |bencher| bencher.iter(|| run(black_box(&mut out))));
}

/// Returns the epilogue of one of the [`SHAPES`].
fn epilogue<'a>(kind: &str, residual: MatRef<'a>) -> Epilogue<'a> {
    match kind {
        "GELU" => Epilogue::Activate(Activation::Gelu),
        "residual" => Epilogue::Add(residual),
        _ => Epilogue::Store,
    }
}

/// Returns the matrix product of x `[M, K]` with packed weights, as a linear layer computes it.
fn linear<'a>(level: Level, m: usize, n: usize, k: usize, kind: &'a str) -> Kernel<'a> {
    let x_stride = padded_stride(k);
    let stride = padded_stride(n);
    let x = random_vec(m * x_stride);
    let w = random_vec(n * k);
    let bias = random_vec(n);
    let residual = random_vec(m * stride);
    let packed = PackedMatrix::pack(level, MatRef::new(&w, n, k));
    Box::new(move |out| {
        out.resize(m * stride, 0.0);
        let epilogue = epilogue(kind, MatRef::with_stride(&residual, m, n, stride));
        let view = MatMut::with_stride(out, m, n, stride);
        gemm(level, MatRef::with_stride(&x, m, k, x_stride), packed.panels(), Some(&bias), epilogue, view);
    })
}

/// Returns the matrix product in bf16 or int8, of activations that are quantized before.
fn quantized_linear<'a>(level: Level, precision: Precision, m: usize, n: usize, k: usize, kind: &'a str) -> Kernel<'a> {
    let cols = precision.packed_row_len(k);
    let stride = padded_stride(n);
    let packed_stride = padded_stride(cols);
    let x = random_vec(m * k);
    let w = random_vec(n * k);
    let bias = random_vec(n);
    let residual = random_vec(m * stride);
    let packed = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&w, n, k));
    let mut activations = vec![0; m * packed_stride];
    quantize(level, precision, MatRef::new(&x, m, k), MatMut::with_stride(&mut activations, m, cols, packed_stride));
    Box::new(move |out| {
        out.resize(m * stride, 0.0);
        let epilogue = epilogue(kind, MatRef::with_stride(&residual, m, n, stride));
        let view = GemmOutput::F32(MatMut::with_stride(out, m, n, stride));
        let a = MatRef::with_stride(&activations, m, cols, packed_stride);
        gemm_quantized(level, a, packed.view(), &bias, epilogue, view);
    })
}

/// Returns one attention head of width d: packing the keys, both matrix products, softmax.
fn head<'a>(level: Level, tokens: usize, d: usize) -> Kernel<'a> {
    let qkv = random_vec(tokens * 3 * d);
    let columns = tokens.next_multiple_of(level.panel_width());
    let mut keys = AlignedScratch::default();
    let mut values = AlignedScratch::default();
    let mut scores = vec![0.0; tokens * columns];
    Box::new(move |out| {
        out.resize(tokens * d, 0.0);
        let part = |i: usize| MatRef::new(&qkv, tokens, 3 * d).cols_in(i * d..(i + 1) * d);
        let packed = Panels::transposed(level, part(1), &mut keys);
        gemm(level, part(0), packed, None, Epilogue::Store, MatMut::new(&mut scores, tokens, columns));
        let transform = ScoreTransform { scale: 1.0 / (d as f32).sqrt(), bias: &[], start: 0 };
        softmax(level, MatMut::new(&mut scores, tokens, columns), |_| 0..tokens, transform);
        let values = Panels::in_place(level, part(2)).unwrap_or_else(|| Panels::copied(level, part(2), &mut values));
        let p = MatRef::with_stride(&scores, tokens, tokens, columns);
        gemm(level, p, values, None, Epilogue::Store, MatMut::new(out, tokens, d));
    })
}

fn gelu<'a>(level: Level, count: usize) -> Kernel<'a> {
    let x: Vec<f32> = random_vec(count).iter().map(|x| 4.0 * x).collect();
    Box::new(move |out| {
        out.clone_from(&x);
        activate(level, Activation::Gelu, MatMut::new(out, 1, count));
    })
}

fn soft<'a>(level: Level, rows: usize, cols: usize) -> Kernel<'a> {
    let x = random_vec(rows * cols);
    Box::new(move |out| {
        out.clone_from(&x);
        softmax(level, MatMut::new(out, rows, cols), |_| 0..cols, ScoreTransform { scale: 1.0, bias: &[], start: 0 });
    })
}

fn norm<'a>(level: Level, rows: usize, cols: usize) -> Kernel<'a> {
    let x = random_vec(rows * cols);
    let weight = random_vec(cols);
    let bias = random_vec(cols);
    Box::new(move |out| {
        out.resize(rows * cols, 0.0);
        layer_norm(level, MatRef::new(&x, rows, cols), &weight, &bias, 1e-5, MatMut::new(out, rows, cols));
    })
}

/// Times the linear layers of all shapes in all precisions.
fn bench_gemm(criterion: &mut Criterion<PeakFraction>, level: Level) {
    for precision in [Precision::Bf16, Precision::Int8] {
        peak_fraction::measure_peak(level, precision, 1);
        let mut group = criterion.benchmark_group(format!("{level}/gemm {}", precision.name()));
        for (name, m, n, k, kind) in SHAPES {
            let run = |level| quantized_linear(level, precision, m, n, k, kind);
            let operations = 2 * m * n * k;
            check_and_time(&mut group, name, operations, MAX_QUANTIZED_ERROR, run(level), run(Level::REFERENCE));
        }
        group.finish();
    }
    peak_fraction::measure_peak(level, Precision::F32, 1);
    let mut group = criterion.benchmark_group(format!("{level}/gemm"));
    for (name, m, n, k, kind) in SHAPES {
        let run = |level| linear(level, m, n, k, kind);
        check_and_time(&mut group, name, 2 * m * n * k, MAX_ERROR, run(level), run(Level::REFERENCE));
    }
    group.finish();
}

/// Times attention heads.
fn bench_heads(criterion: &mut Criterion<PeakFraction>, level: Level) {
    let mut group = criterion.benchmark_group(format!("{level}/head"));
    for (tokens, d) in [(16, 32), (128, 32), (16, 64), (128, 64), (384, 64)] {
        let run = |level| head(level, tokens, d);
        let name = format!("{tokens} tokens, width {d}");
        check_and_time(&mut group, &name, 4 * tokens * tokens * d, MAX_ERROR, run(level), run(Level::REFERENCE));
    }
    group.finish();
}

/// Times the operators on rows.
fn bench_rows(criterion: &mut Criterion<PeakFraction>, level: Level) {
    let mut group = criterion.benchmark_group(format!("{level}/rows"));
    let mut time = |name: &str, operations: usize, run: &dyn Fn(Level) -> Kernel<'static>| {
        check_and_time(&mut group, name, operations, MAX_ERROR, run(level), run(Level::REFERENCE));
    };
    time("GELU", 4 * 3072 * GELU_OPERATIONS, &|level| gelu(level, 4 * 3072));
    time("softmax, 12 by 128", 12 * 128 * SOFTMAX_OPERATIONS, &|level| soft(level, 12, 128));
    time("layer norm, 12 by 768", 12 * 768 * LAYER_NORM_OPERATIONS, &|level| norm(level, 12, 768));
    group.finish();
}

fn main() {
    let mut criterion = peak_fraction::criterion();
    for level in Level::available().into_iter().filter(|&level| level != Level::REFERENCE) {
        bench_gemm(&mut criterion, level);
        bench_heads(&mut criterion, level);
        bench_rows(&mut criterion, level);
    }
    criterion.final_summary();
}
