//! The peak rate of the machine.
//!
//! A figure in GFLOP/s means little alone: clocks change, and other processes share the machine. So
//! the peak is measured in the same run, by a loop of nothing but independent multiply-adds on
//! registers, and results are given as a fraction of it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::dot_kernel::{DotKernel, DotKernels};
use crate::level::{Level, Operator};
use crate::quant::Precision;
use crate::simd::{LANES, Simd};

/// Measures the multiply-adds of this thread in a precision, in operations (two each) per second:
/// the best of `rounds` short runs.
///
/// For `Level::REFERENCE` the figure is that of scalar f64 arithmetic.
pub fn multiply_add_peak(level: Level, precision: Precision, rounds: usize) -> f64 {
    const STEPS: usize = 200_000;
    let run = || level.call_with_dots(PeakLoop { precision, steps: STEPS });
    (0..rounds.max(1)).map(|_| run()).fold(0.0, f64::max)
}

struct PeakLoop {
    precision: Precision,
    steps: usize,
}

/// The most independent accumulation chains: enough to hide the latency of a multiply-add, few
/// enough for sixteen registers.
const MAX_CHAINS: usize = 12;

impl Operator for PeakLoop {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, dots: D) -> f64 {
        match self.precision {
            Precision::F32 => multiply_add_rate(s, self.steps),
            Precision::Bf16 => dot_rate(s, dots.bf16(), s.splat(0.0), Precision::Bf16, self.steps),
            Precision::Int8 => dot_rate(s, dots.int8(), s.load_i32(&[0; LANES]), Precision::Int8, self.steps),
        }
    }

    fn reference(self) -> f64 {
        let mut sums = [0.0_f64; 4];
        let a = black_box(0.5);
        let b = black_box(0.25);
        let start = Instant::now();
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = *sum * a + b;
            }
        }
        let elapsed = start.elapsed();
        black_box(sums);
        rate(self.steps * sums.len(), elapsed)
    }
}

/// Returns the number of chains of a level. Levels with narrow registers need several for each
/// vector, so they get fewer.
#[inline(always)]
fn chains<S: Simd>() -> usize {
    if S::NR_VECTORS == 2 { MAX_CHAINS } else { S::MR }
}

#[inline(always)]
fn multiply_add_rate<S: Simd>(s: S, steps: usize) -> f64 {
    let chains = chains::<S>();
    let mut sums = [s.splat(0.0); MAX_CHAINS];
    let a = s.splat(black_box(0.5));
    let b = s.splat(black_box(0.25));
    let start = Instant::now();
    for _ in 0..steps {
        for sum in sums.iter_mut().take(chains) {
            *sum = s.mul_add(*sum, a, b);
        }
    }
    let elapsed = start.elapsed();
    let mut total = s.splat(0.0);
    for sum in sums {
        total = s.add(total, sum);
    }
    black_box(s.sum(total));
    rate(steps * chains * LANES, elapsed)
}

#[inline(always)]
fn dot_rate<S: Simd, Dot: DotKernel<S, PackedElement = u32>>(
    s: S,
    kernel: Dot,
    zero: Dot::Accumulator,
    precision: Precision,
    steps: usize,
) -> f64 {
    // Halves that are about 0.03 as bf16, and bytes whose products do not overflow an i32 in any
    // number of steps used here.
    const PACKED: u32 = 0x3d01_3d01;
    let chains = chains::<S>();
    let mut sums = [zero; MAX_CHAINS];
    let b = kernel.load_weights(s, 0, &black_box([PACKED; LANES]));
    let start = Instant::now();
    for _ in 0..steps {
        // Broadcast in every step: if multiplication and addition are two instructions, the
        // compiler would otherwise compute the product once for all steps.
        let a = kernel.broadcast(s, 0, black_box(PACKED));
        for sum in sums.iter_mut().take(chains) {
            *sum = kernel.multiply_add(s, a, b, *sum);
        }
    }
    let elapsed = start.elapsed();
    black_box(sums);
    rate(steps * chains * LANES * precision.elements_per_word() / Dot::PHASES_PER_STEP, elapsed)
}

fn rate(multiply_adds: usize, elapsed: Duration) -> f64 {
    2.0 * multiply_adds as f64 / elapsed.as_secs_f64()
}
