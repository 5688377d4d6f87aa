//! What the machine could do at best.
//!
//! A figure in GFLOP/s says little by itself: clocks change, and other work shares the machine. So the peak is measured
//! in the same run, by a loop of nothing but independent multiply-adds on registers, and results are given as a fraction
//! of it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::dot_kernel::{DotKernel, DotKernels, WordOperator};
use crate::level::{Level, Operator};
use crate::quant::Precision;
use crate::simd::{LANES, Simd};

/// Multiply-adds of this thread on numbers of this type, in operations (two each) a second: the best of `rounds` short runs.
///
/// For `Level::REFERENCE` the figure is that of plain f64 arithmetic.
pub fn multiply_add_peak(level: Level, precision: Precision, rounds: usize) -> f64 {
    let steps = 200_000;
    let run = || match precision {
        Precision::F32 => level.enter(MultiplyAdd { steps }),
        _ => level.enter_words(MultiplyWords { precision, steps }),
    };
    (0..rounds.max(1)).map(|_| run()).fold(0.0, f64::max)
}

struct MultiplyAdd {
    steps: usize,
}

/// Chains that run side by side: enough to hide the latency of a multiply-add, few enough for sixteen registers.
const CHAINS: usize = 12;

impl Operator for MultiplyAdd {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        // A vector takes 16/LANES-of-a-register registers, so narrow levels get fewer chains of it.
        let chains = if S::NR_VECTORS == 2 { CHAINS } else { S::MR };
        let mut sums = [s.splat(0.0); CHAINS];
        let (a, b) = (s.splat(black_box(0.5)), s.splat(black_box(0.25)));
        let start = Instant::now();
        for _ in 0..self.steps {
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
        rate(self.steps * chains * LANES, elapsed)
    }

    fn reference(self) -> f64 {
        plainly(self.steps)
    }
}

fn plainly(steps: usize) -> f64 {
    let mut sums = [0.0_f64; 4];
    let (a, b) = (black_box(0.5), black_box(0.25));
    let start = Instant::now();
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = *sum * a + b;
        }
    }
    let elapsed = start.elapsed();
    black_box(sums);
    rate(steps * sums.len(), elapsed)
}

struct MultiplyWords {
    precision: Precision,
    steps: usize,
}

impl WordOperator for MultiplyWords {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, dots: D) -> f64 {
        match self.precision {
            Precision::Int8 => multiply_words(s, dots.int8(), s.load_i32(&[0; LANES]), 4, self.steps),
            _ => multiply_words(s, dots.bf16(), s.splat(0.0), 2, self.steps),
        }
    }

    fn reference(self) -> f64 {
        plainly(self.steps)
    }
}

#[inline(always)]
fn multiply_words<S: Simd, P: DotKernel<S, PackedElement = u32>>(
    s: S,
    p: P,
    zero: P::Accumulator,
    elements_per_word: usize,
    steps: usize,
) -> f64 {
    let chains = if S::NR_VECTORS == 2 { CHAINS } else { S::MR };
    let mut sums = [zero; CHAINS];
    // Halves that are about 0.03 as bf16, and bytes whose products do not add up to more than an i32 in any number of steps here.
    const WORD: u32 = 0x3d01_3d01;
    let b = p.load_weights(s, 0, &black_box([WORD; LANES]));
    let start = Instant::now();
    for _ in 0..steps {
        // Anew in each step: a product that is not one instruction with the addition would else be computed once for all.
        let a = p.broadcast(s, 0, black_box(WORD));
        for sum in sums.iter_mut().take(chains) {
            *sum = p.multiply_add(s, a, b, *sum);
        }
    }
    let elapsed = start.elapsed();
    black_box(sums);
    rate(steps * chains * LANES * elements_per_word / P::PHASES, elapsed)
}

fn rate(multiply_adds: usize, elapsed: Duration) -> f64 {
    2.0 * multiply_adds as f64 / elapsed.as_secs_f64()
}
