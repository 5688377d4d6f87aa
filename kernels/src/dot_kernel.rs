//! Dot kernels: how the GEMM microkernel multiplies one step of K, for f32, bf16 and int8.
//!
//! A packed element has 32 bits: one f32, two bf16 or four bytes. At every step of K the
//! microkernel takes a packed element from each row of A and vectors of packed elements from the
//! panel of B, and adds their dot products to its accumulators. Only this step differs between the
//! precisions:
//!
//! | | element of A | element of B | dot product | accumulator |
//! |---|---|---|---|---|
//! | [`F32Dot`] | f32 | f32 | a·b | f32 |
//! | bf16 | 2 bf16 | 2 bf16 | a₀·b₀ + a₁·b₁ | f32 |
//! | int8 | 4 u8 | 4 i8 | a₀·b₀ + a₁·b₁ + a₂·b₂ + a₃·b₃ | i32 |
//!
//! If the CPU has an instruction for the whole dot product ([`DotKernels`]), a step is that
//! instruction. Otherwise a step is two **phases**: one half of each packed element after the
//! other, by the instructions of the level. Two phases instead of one longer step, because both
//! halves of the weights together would take twice the registers, and all registers are in use.

use crate::simd::{LANES, Simd};

/// How packed elements are multiplied and accumulated.
pub(crate) trait DotKernel<S: Simd>: Copy {
    /// One 32-bit element of a packed matrix.
    type PackedElement: Copy;
    /// Sixteen packed elements, or one half of each, as multiplicands.
    type Vector: Copy;
    /// Sixteen accumulators.
    type Accumulator: Copy;

    /// The phases that one step of K takes: 1, or 2 if the halves of a packed element take turns.
    const PHASES_PER_STEP: usize;

    /// Loads elements of B for one phase.
    fn load_weights(self, s: S, phase: usize, packed: &[Self::PackedElement; LANES]) -> Self::Vector;
    /// Broadcasts an element of A to all lanes for one phase.
    fn broadcast(self, s: S, phase: usize, packed: Self::PackedElement) -> Self::Vector;
    /// Returns `sum` + a · b.
    fn multiply_add(self, s: S, a: Self::Vector, b: Self::Vector, sum: Self::Accumulator) -> Self::Accumulator;
}

/// The f32 kernel: one multiply-add a step.
#[derive(Clone, Copy)]
pub(crate) struct F32Dot;

impl<S: Simd> DotKernel<S> for F32Dot {
    type PackedElement = f32;
    type Vector = S::F;
    type Accumulator = S::F;
    const PHASES_PER_STEP: usize = 1;

    #[inline(always)]
    fn load_weights(self, s: S, _: usize, packed: &[f32; LANES]) -> S::F {
        s.load_array(packed)
    }

    #[inline(always)]
    fn broadcast(self, s: S, _: usize, packed: f32) -> S::F {
        s.splat(packed)
    }

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.mul_add(a, b, sum)
    }
}

/// The bf16 and int8 kernels of a CPU.
pub(crate) trait DotKernels<S: Simd>: Copy {
    /// Multiplies pairs of bf16 and accumulates in f32.
    type Bf16: DotKernel<S, PackedElement = u32, Accumulator = S::F>;
    /// Multiplies four u8 (of A), from each of which [`Self::ACTIVATION_OFFSET`] is subtracted,
    /// with four i8 (of B), and accumulates in i32 without saturation.
    type Int8: DotKernel<S, PackedElement = u32, Accumulator = S::I>;

    /// What the int8 kernel subtracts from each u8 of A.
    const ACTIVATION_OFFSET: i32 = 0;

    /// Returns the bf16 kernel.
    fn bf16(self) -> Self::Bf16;
    /// Returns the int8 kernel.
    fn int8(self) -> Self::Int8;
}

/// The kernels that every CPU can run.
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

/// The bf16 kernel by two f32 multiply-adds. A bf16 is the upper half of an f32, and the product of
/// two is exact in f32.
#[derive(Clone, Copy)]
pub(crate) struct Bf16Halves;

impl<S: Simd> DotKernel<S> for Bf16Halves {
    type PackedElement = u32;
    type Vector = S::F;
    type Accumulator = S::F;
    const PHASES_PER_STEP: usize = 2;

    // The high halves first, because the instruction VDPBF16PS adds their product first.
    #[inline(always)]
    fn load_weights(self, s: S, phase: usize, packed: &[u32; LANES]) -> S::F {
        s.widen_bf16(packed, phase == 0)
    }

    #[inline(always)]
    fn broadcast(self, s: S, phase: usize, packed: u32) -> S::F {
        s.splat(f32::from_bits(if phase == 0 { packed & 0xffff_0000 } else { packed << 16 }))
    }

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
        s.mul_add(a, b, sum)
    }
}

/// The int8 kernel by twice two products of i16, whose sums are exact: 2 · 255 · 127 is far from
/// the limits of i32. The shorter way, products of bytes that are added in i16, would saturate.
#[derive(Clone, Copy)]
pub(crate) struct Int8Pairs;

impl<S: Simd> DotKernel<S> for Int8Pairs {
    type PackedElement = u32;
    type Vector = S::I;
    type Accumulator = S::I;
    const PHASES_PER_STEP: usize = 2;

    #[inline(always)]
    fn load_weights(self, s: S, phase: usize, packed: &[u32; LANES]) -> S::I {
        s.widen_i8(packed, phase == 1)
    }

    #[inline(always)]
    fn broadcast(self, s: S, phase: usize, packed: u32) -> S::I {
        s.splat_pair((packed >> (8 * phase)) & 0x00ff_00ff)
    }

    #[inline(always)]
    fn multiply_add(self, s: S, a: S::I, b: S::I, sum: S::I) -> S::I {
        s.add_products(sum, a, b)
    }
}
