//! What the matmul's tile multiplies: words of 32 bits, each one f32, two bf16 or four bytes.
//!
//! For every step of k the tile takes a word of each of its rows and vectors of words of the panel, and adds their products
//! to its accumulators. Only this differs between the types of numbers:
//!
//! | | a word of A | a word of B | their product | accumulator |
//! |---|---|---|---|---|
//! | [`F32`] | f32 | f32 | a·b | f32 |
//! | bf16 | 2 bf16 | 2 bf16 | a₀·b₀ + a₁·b₁ | f32 |
//! | int8 | 4 u8 | 4 i8 | a₀·b₀ + a₁·b₁ + a₂·b₂ + a₃·b₃ | i32 |
//!
//! Where a CPU has an instruction for a whole word ([`DotKernels`]), a step is that instruction. Elsewhere it is two **phases**: one
//! half of each word after the other, with the instructions that there are. Phases and not one longer step, because
//! the halves of the weights would take twice the registers, and there are none to spare.

use crate::simd::{LANES, Simd};

/// How words are multiplied and added up.
pub(crate) trait DotKernel<S: Simd>: Copy {
    /// A word as it lies in memory.
    type PackedElement: Copy;
    /// Sixteen words, or their halves, as they are multiplied.
    type Vector: Copy;
    /// Sixteen sums.
    type Accumulator: Copy;

    /// Parts of a step.
    const PHASES: usize;

    /// Words of B, for one phase.
    fn load_weights(self, s: S, phase: usize, words: &[Self::PackedElement; LANES]) -> Self::Vector;
    /// A word of A in all lanes, for one phase.
    fn broadcast(self, s: S, phase: usize, word: Self::PackedElement) -> Self::Vector;
    /// `sum` + a · b.
    fn multiply_add(self, s: S, a: Self::Vector, b: Self::Vector, sum: Self::Accumulator) -> Self::Accumulator;
}

/// A word is an f32.
#[derive(Clone, Copy)]
pub(crate) struct F32;

impl<S: Simd> DotKernel<S> for F32 {
    type PackedElement = f32;
    type Vector = S::F;
    type Accumulator = S::F;
    const PHASES: usize = 1;

    #[inline(always)]
    fn load_weights(self, s: S, _: usize, words: &[f32; LANES]) -> S::F {
        s.load_array(words)
    }

    #[inline(always)]
    fn broadcast(self, s: S, _: usize, word: f32) -> S::F {
        s.splat(word)
    }

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.mul_add(a, b, sum)
    }
}

/// The products of words that a level has for the smaller types.
pub(crate) trait DotKernels<S: Simd>: Copy {
    /// Of pairs of bf16, summed in f32.
    type Bf16: DotKernel<S, PackedElement = u32, Accumulator = S::F>;
    /// Of four u8 (of A), from each of which [`Self::INT8_OFFSET`] is taken, with four i8 (of B), summed in i32 without
    /// saturation.
    type Int8: DotKernel<S, PackedElement = u32, Accumulator = S::I>;

    /// What the int8 product takes from each number of A.
    const INT8_OFFSET: i32 = 0;

    /// The one for bf16.
    fn bf16(self) -> Self::Bf16;
    /// The one for int8.
    fn int8(self) -> Self::Int8;
}

/// The products on any CPU.
#[derive(Clone, Copy)]
pub(crate) struct FallbackDots;

impl<S: Simd> DotKernels<S> for FallbackDots {
    type Bf16 = Bf16Halves;
    type Int8 = Int8Pairs;

    #[inline(always)]
    fn bf16(self) -> Bf16Halves {
        Bf16Halves
    }

    #[inline(always)]
    fn int8(self) -> Int8Pairs {
        Int8Pairs
    }
}

/// Two bf16 by two multiply-adds. A bf16 is the upper half of an f32, and the product of two is exact in f32.
#[derive(Clone, Copy)]
pub(crate) struct Bf16Halves;

impl<S: Simd> DotKernel<S> for Bf16Halves {
    type PackedElement = u32;
    type Vector = S::F;
    type Accumulator = S::F;
    const PHASES: usize = 2;

    // The instruction VDPBF16PS adds the product of the high halves first.
    #[inline(always)]
    fn load_weights(self, s: S, phase: usize, words: &[u32; LANES]) -> S::F {
        s.widen_bf16(words, phase == 0)
    }

    #[inline(always)]
    fn broadcast(self, s: S, phase: usize, word: u32) -> S::F {
        s.splat(f32::from_bits(if phase == 0 { word & 0xffff_0000 } else { word << 16 }))
    }

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.mul_add(a, b, sum)
    }
}

/// Four bytes by twice two products of i16, which add up exactly: 2 · 255 · 127 is far from the limits of i32, where the
/// shorter way, products of bytes that are added in i16, would saturate.
#[derive(Clone, Copy)]
pub(crate) struct Int8Pairs;

impl<S: Simd> DotKernel<S> for Int8Pairs {
    type PackedElement = u32;
    type Vector = S::I;
    type Accumulator = S::I;
    const PHASES: usize = 2;

    #[inline(always)]
    fn load_weights(self, s: S, phase: usize, words: &[u32; LANES]) -> S::I {
        s.widen_i8(words, phase == 1)
    }

    #[inline(always)]
    fn broadcast(self, s: S, phase: usize, word: u32) -> S::I {
        s.splat_pair((word >> (8 * phase)) & 0x00ff_00ff)
    }

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::I, b: S::I, sum: S::I) -> S::I {
        s.add_products(sum, a, b)
    }
}

/// An operator on words: its one body for all SIMD levels and their products, and its plain form.
///
/// `run` must be `#[inline(always)]`, as must all that it calls with vectors.
pub(crate) trait WordOperator {
    type Output;
    fn run<S: Simd, D: DotKernels<S>>(self, s: S, dots: D) -> Self::Output;
    fn reference(self) -> Self::Output;
}

/// An operator on words, with the products of any CPU.
pub(crate) struct Plainly<O>(pub(crate) O);

impl<O: WordOperator> crate::level::Operator for Plainly<O> {
    type Output = O::Output;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> O::Output {
        self.0.run(s, FallbackDots)
    }

    fn reference(self) -> O::Output {
        self.0.reference()
    }
}
