//! A matrix product, from three loops to the library's kernels, one idea at a time.
//!
//! `cargo run --release -p likewise-kernels --example ladder`
//!
//! Every step computes y = x · Wᵀ with x `[M, K]`, W `[N, K]` and y `[M, N]` (docs/gemm.md). Its
//! answer is compared with that of the first step before it is measured. A model rearranges W once,
//! so that is not measured.
#![allow(clippy::needless_range_loop, reason = "the order of the loops is the subject")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, GemmOutput, PackedMatrix, PackedQuantizedMatrix, gemm, gemm_quantized};
use likewise_kernels::memory::AlignedScratch;
use likewise_kernels::peak::multiply_add_peak;
use likewise_kernels::quant::{Precision, quantize};
use likewise_kernels::view::{MatMut, MatRef};
use wide::f32x8;

/// The shapes and factors of a product.
#[derive(Clone)]
pub(crate) struct Problem {
    m: usize,
    n: usize,
    k: usize,
    x: Vec<f32>,
    w: Vec<f32>,
}

impl Problem {
    /// Fills the factors with numbers from −1 to 1, the same on every machine (xorshift).
    pub(crate) fn new(m: usize, n: usize, k: usize) -> Self {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        };
        let mut take = |count: usize| (0..count).map(|_| next()).collect();
        Self { m, n, k, x: take(m * k), w: take(n * k) }
    }
}

/// Computes y `[M, N]`.
type Product = Box<dyn FnMut(&mut [f32])>;

/// One form of the product.
pub(crate) struct Step {
    name: &'static str,
    /// The largest error, as a fraction of the root mean square of y.
    max_error: f32,
    run: Product,
}

/// **Step 1.** The definition. Each addition waits for the one before it, which takes 4 cycles.
fn naive(p: Problem) -> Step {
    let run = move |y: &mut [f32]| {
        for i in 0..p.m {
            for j in 0..p.n {
                let mut sum = 0.0;
                for k in 0..p.k {
                    sum += p.x[i * p.k + k] * p.w[j * p.k + k];
                }
                y[i * p.n + j] = sum;
            }
        }
    };
    Step { name: "three loops", max_error: 0.0, run: Box::new(run) }
}

/// W `[N, K]` as `[K, N]`.
fn transposed(p: &Problem) -> Vec<f32> {
    (0..p.k).flat_map(|k| (0..p.n).map(move |j| p.w[j * p.k + k])).collect()
}

/// y += a · w.
fn add_scaled(y: &mut [f32], a: f32, w: &[f32]) {
    for (y, w) in y.iter_mut().zip(w) {
        *y += a * w;
    }
}

/// **Step 2.** The loop over n is the innermost. Its additions belong to different sums, so none
/// waits for another, and the compiler can compute several with one instruction.
fn loop_order(p: Problem) -> Step {
    let wt = transposed(&p);
    let run = move |y: &mut [f32]| {
        y.fill(0.0);
        for i in 0..p.m {
            for k in 0..p.k {
                add_scaled(&mut y[i * p.n..][..p.n], p.x[i * p.k + k], &wt[k * p.n..][..p.n]);
            }
        }
    };
    Step { name: "loop over n innermost", max_error: 1e-5, run: Box::new(run) }
}

/// **Step 3.** A block of W that fits in the first-level cache (32 KB) is used for all rows of x
/// before the next block is loaded. Step 2 loads all of W again for each row.
fn blocked(p: Problem) -> Step {
    const K_BLOCK: usize = 64;
    const N_BLOCK: usize = 128;
    let wt = transposed(&p);
    let run = move |y: &mut [f32]| {
        y.fill(0.0);
        for n in (0..p.n).step_by(N_BLOCK) {
            let n_end = (n + N_BLOCK).min(p.n);
            for k in (0..p.k).step_by(K_BLOCK) {
                for i in 0..p.m {
                    for k in k..(k + K_BLOCK).min(p.k) {
                        let w = &wt[k * p.n + n..k * p.n + n_end];
                        add_scaled(&mut y[i * p.n + n..i * p.n + n_end], p.x[i * p.k + k], w);
                    }
                }
            }
        }
    };
    Step { name: "blocks for the cache", max_error: 1e-5, run: Box::new(run) }
}

/// Rows and columns of the tile of step 4.
const ROWS: usize = 4;
const WIDTH: usize = 8;

/// Sums a tile of `ROWS` by `WIDTH` elements of y. The sums stay in registers; steps 2 and 3 load
/// and store them at every step of k. (With plain arrays the compiler vectorizes the wrong loop.)
fn tile([x0, x1, x2, x3]: [&[f32]; ROWS], panel: &[f32]) -> [f32x8; ROWS] {
    let mut sums = [f32x8::splat(0.0); ROWS];
    let (steps, _) = panel.as_chunks::<WIDTH>();
    for ((((&w, &x0), &x1), &x2), &x3) in steps.iter().zip(x0).zip(x1).zip(x2).zip(x3) {
        let w = f32x8::new(w);
        for (sum, x) in sums.iter_mut().zip([x0, x1, x2, x3]) {
            *sum += f32x8::splat(x) * w;
        }
    }
    sums
}

/// **Step 4.** W is packed in panels of `WIDTH` rows, in the order in which a tile reads it, and
/// each loaded element serves a tile of the result that stays in registers.
fn packed(p: Problem) -> Step {
    let panels: Vec<Vec<f32>> = (0..p.n)
        .step_by(WIDTH)
        .map(|first| {
            let row = |c: usize| (first + c < p.n).then(|| &p.w[(first + c) * p.k..][..p.k]);
            (0..p.k).flat_map(|k| (0..WIDTH).map(move |c| row(c).map_or(0.0, |row| row[k]))).collect()
        })
        .collect();
    let run = move |y: &mut [f32]| {
        for (panel, n) in panels.iter().zip((0..p.n).step_by(WIDTH)) {
            let columns = WIDTH.min(p.n - n);
            for i in (0..p.m).step_by(ROWS) {
                // The last tile may have fewer rows: it computes its last row several times.
                let row = |r: usize| (i + r).min(p.m - 1);
                let sums = tile(std::array::from_fn(|r| &p.x[row(r) * p.k..][..p.k]), panel);
                for r in 0..ROWS {
                    y[row(r) * p.n + n..][..columns].copy_from_slice(&sums[r].as_array()[..columns]);
                }
            }
        }
    };
    Step { name: "packed panels, a tile in registers", max_error: 1e-5, run: Box::new(run) }
}

/// **Step 5.** The library's kernel: the same tile with the vectors and the fused multiply-add of
/// this CPU, as large as its registers allow.
fn simd(p: Problem, level: Level) -> Step {
    let weights = PackedMatrix::pack(level, MatRef::new(&p.w, p.n, p.k));
    let run = move |y: &mut [f32]| {
        let (x, y) = (MatRef::new(&p.x, p.m, p.k), MatMut::new(y, p.m, p.n));
        gemm(level, x, weights.panels(), None, Epilogue::Store, y);
    };
    Step { name: "the library, f32", max_error: 1e-5, run: Box::new(run) }
}

/// **Steps 6 and 7.** An instruction multiplies and adds two bf16 or four bytes where it was one
/// f32. Quantizing x is measured as well.
fn smaller(p: Problem, level: Level, precision: Precision) -> Step {
    let weights = PackedQuantizedMatrix::pack(level, precision, MatRef::new(&p.w, p.n, p.k));
    let (bias, width) = (vec![0.0; p.n], precision.packed_row_len(p.k));
    let mut memory = AlignedScratch::default();
    let run = move |y: &mut [f32]| {
        let quantized = memory.slice_mut(p.m * width);
        quantize(level, precision, MatRef::new(&p.x, p.m, p.k), MatMut::new(quantized, p.m, width));
        let x = MatRef::new(memory.slice(p.m * width), p.m, width);
        gemm_quantized(level, x, weights.view(), &bias, Epilogue::Store, GemmOutput::F32(MatMut::new(y, p.m, p.n)));
    };
    let (name, max_error) = match precision {
        Precision::Bf16 => ("the library, bf16", 0.02),
        _ => ("the library, int8", 0.08),
    };
    Step { name, max_error, run: Box::new(run) }
}

/// Returns all steps for a product, the definition first.
pub(crate) fn steps(p: &Problem, level: Level) -> Vec<Step> {
    let mut steps: Vec<Step> = [naive, loop_order, blocked, packed].map(|step| step(p.clone())).into();
    steps.push(simd(p.clone(), level));
    steps.extend([Precision::Bf16, Precision::Int8].map(|precision| smaller(p.clone(), level, precision)));
    steps
}

/// Computes y once by each step, and compares it with that of the first.
pub(crate) fn check(steps: &mut [Step], p: &Problem) {
    let mut expected = vec![0.0; p.m * p.n];
    (steps[0].run)(&mut expected);
    let rms = (expected.iter().map(|y| y * y).sum::<f32>() / expected.len() as f32).sqrt();
    for step in steps {
        let mut y = vec![f32::NAN; expected.len()];
        (step.run)(&mut y);
        let mut errors = y.iter().zip(&expected).map(|(a, b)| (a - b).abs() / rms);
        let wrong = errors.find(|&error| error > step.max_error || error.is_nan());
        assert_eq!(wrong, None, "{}: an error above {}", step.name, step.max_error);
    }
}

/// Returns the shortest time of a step, among as many runs as fit into half a second.
fn time(step: &mut Step, len: usize) -> Duration {
    let (mut y, begin, mut best) = (vec![0.0; len], Instant::now(), Duration::MAX);
    while begin.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        (step.run)(black_box(&mut y));
        best = best.min(start.elapsed());
    }
    best
}

fn main() {
    let (p, level) = (Problem::new(192, 3072, 768), Level::best());
    let mut steps = steps(&p, level);
    check(&mut steps, &p);
    println!("y = x · Wᵀ with x [{}, {}] and W [{}, {}], one thread, level {level}", p.m, p.k, p.n, p.k);
    println!("\n{:<36}{:>10}  {:>10}", "", "GFLOP/s", "ratio");
    let mut before = f64::NAN;
    for step in &mut steps {
        let rate = (2 * p.m * p.n * p.k) as f64 / time(step, p.m * p.n).as_secs_f64() / 1e9;
        let ratio = if before.is_nan() { String::new() } else { format!("{:.1} ×", rate / before) };
        println!("{:<36}{rate:>10.1}  {ratio:>10}", step.name);
        before = rate;
    }
    let [f32, bf16, int8] = [Precision::F32, Precision::Bf16, Precision::Int8]
        .map(|precision| multiply_add_peak(level, precision, 20) / 1e9);
    println!("\nThe peak of this core: {f32:.0} in f32, {bf16:.0} in bf16, {int8:.0} in int8.");
}
