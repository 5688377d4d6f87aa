//! Dot kernels of one instruction: AVX512-BF16 and AVX512-VNNI, AVX-VNNI, and NEON's SDOT.

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use wide::bytemuck::cast_ref;

    use crate::dot_kernel::{Bf16Halves, DotKernel, DotKernels};
    use crate::level::{Avx2, Avx512, Avx512Vnni, Avx512VnniBf16, AvxVnni};
    use crate::simd::{LANES, Simd};

    /// Calls intrinsics of a dot-product extension.
    macro_rules! dots {
        ($call:expr) => {
            // SAFETY: `self` contains a proof that exists only after detection found the
            // instructions. The intrinsics access no memory. Both types of a transmutation have 512
            // bits, and every pattern of these is valid for both.
            unsafe { $call }
        };
    }

    impl DotKernels<Avx512> for Avx512VnniBf16 {
        type Bf16 = Avx512Bf16;
        type Int8 = Avx512VnniInt8;

        #[inline(always)]
        fn bf16(self) -> Avx512Bf16 {
            Avx512Bf16(self)
        }

        #[inline(always)]
        fn int8(self) -> Avx512VnniInt8 {
            Avx512VnniInt8(self.vnni())
        }
    }

    impl DotKernels<Avx512> for Avx512Vnni {
        type Bf16 = Bf16Halves;
        type Int8 = Avx512VnniInt8;

        #[inline(always)]
        fn bf16(self) -> Bf16Halves {
            Bf16Halves
        }

        #[inline(always)]
        fn int8(self) -> Avx512VnniInt8 {
            Avx512VnniInt8(self)
        }
    }

    /// The bf16 kernel by VDPBF16PS.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512Bf16(Avx512VnniBf16);

    impl DotKernel<Avx512> for Avx512Bf16 {
        type PackedElement = u32;
        type Vector = __m512i;
        type Accumulator = __m512;
        const PHASES_PER_STEP: usize = 1;

        #[inline(always)]
        fn load_weights(self, s: Avx512, _: usize, packed: &[u32; LANES]) -> __m512i {
            s.load_i32(cast_ref(packed))
        }

        #[inline(always)]
        fn broadcast(self, s: Avx512, _: usize, packed: u32) -> __m512i {
            s.splat_pair(packed)
        }

        #[inline(always)]
        fn multiply_add(self, _: Avx512, a: __m512i, b: __m512i, sum: __m512) -> __m512 {
            // The intrinsic takes a special type for pairs of bf16.
            dots!(_mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(a),
                std::mem::transmute::<__m512i, __m512bh>(b)
            ))
        }
    }

    /// The int8 kernel by VPDPBUSD on registers of 512 bits.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512VnniInt8(Avx512Vnni);

    impl DotKernel<Avx512> for Avx512VnniInt8 {
        type PackedElement = u32;
        type Vector = __m512i;
        type Accumulator = __m512i;
        const PHASES_PER_STEP: usize = 1;

        #[inline(always)]
        fn load_weights(self, s: Avx512, _: usize, packed: &[u32; LANES]) -> __m512i {
            s.load_i32(cast_ref(packed))
        }

        #[inline(always)]
        fn broadcast(self, s: Avx512, _: usize, packed: u32) -> __m512i {
            s.splat_pair(packed)
        }

        #[inline(always)]
        fn multiply_add(self, _: Avx512, a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
            dots!(_mm512_dpbusd_epi32(sum, a, b))
        }
    }

    impl DotKernels<Avx2> for AvxVnni {
        type Bf16 = Bf16Halves;
        type Int8 = AvxVnniInt8;

        #[inline(always)]
        fn bf16(self) -> Bf16Halves {
            Bf16Halves
        }

        #[inline(always)]
        fn int8(self) -> AvxVnniInt8 {
            AvxVnniInt8(self)
        }
    }

    /// The int8 kernel by VPDPBUSD on registers of 256 bits, in the encoding that does not need
    /// AVX-512.
    #[derive(Clone, Copy)]
    pub(crate) struct AvxVnniInt8(AvxVnni);

    impl DotKernel<Avx2> for AvxVnniInt8 {
        type PackedElement = u32;
        type Vector = [__m256i; 2];
        type Accumulator = [__m256i; 2];
        const PHASES_PER_STEP: usize = 1;

        #[inline(always)]
        fn load_weights(self, s: Avx2, _: usize, packed: &[u32; LANES]) -> [__m256i; 2] {
            s.load_i32(cast_ref(packed))
        }

        #[inline(always)]
        fn broadcast(self, s: Avx2, _: usize, packed: u32) -> [__m256i; 2] {
            s.splat_pair(packed)
        }

        #[inline(always)]
        fn multiply_add(self, _: Avx2, a: [__m256i; 2], b: [__m256i; 2], sum: [__m256i; 2]) -> [__m256i; 2] {
            dots!([_mm256_dpbusd_avx_epi32(sum[0], a[0], b[0]), _mm256_dpbusd_avx_epi32(sum[1], a[1], b[1])])
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;
    use std::arch::asm;

    use crate::dot_kernel::{Bf16Halves, DotKernel, DotKernels};
    use crate::level::{Neon, NeonDotProd};
    use crate::simd::LANES;

    impl DotKernels<Neon> for NeonDotProd {
        type Bf16 = Bf16Halves;
        type Int8 = Sdot;
        const ACTIVATION_OFFSET: i32 = 128;

        #[inline(always)]
        fn bf16(self) -> Bf16Halves {
            Bf16Halves
        }

        #[inline(always)]
        fn int8(self) -> Sdot {
            Sdot(self)
        }
    }

    /// The int8 kernel by SDOT, which multiplies i8 with i8: flipping the highest bit of a u8
    /// subtracts 128 from it.
    #[derive(Clone, Copy)]
    pub(crate) struct Sdot(NeonDotProd);

    impl DotKernel<Neon> for Sdot {
        type PackedElement = u32;
        type Vector = [int32x4_t; 4];
        type Accumulator = [int32x4_t; 4];
        const PHASES_PER_STEP: usize = 1;

        #[inline(always)]
        fn load_weights(self, _: Neon, _: usize, packed: &[u32; LANES]) -> [int32x4_t; 4] {
            // SAFETY: the proof exists only after detection found NEON; each load reads four of the
            // sixteen packed elements.
            unsafe { [0, 4, 8, 12].map(|at| vld1q_s32(packed.as_ptr().add(at).cast())) }
        }

        #[inline(always)]
        fn broadcast(self, _: Neon, _: usize, packed: u32) -> [int32x4_t; 4] {
            // SAFETY: the proof exists only after detection found NEON.
            unsafe { [vdupq_n_s32((packed ^ 0x8080_8080).cast_signed()); 4] }
        }

        #[inline(always)]
        fn multiply_add(self, _: Neon, a: [int32x4_t; 4], b: [int32x4_t; 4], sum: [int32x4_t; 4]) -> [int32x4_t; 4] {
            // SAFETY: the proof exists only after detection found NEON and SDOT.
            unsafe {
                [sdot(sum[0], a[0], b[0]), sdot(sum[1], a[1], b[1]), sdot(sum[2], a[2], b[2]), sdot(sum[3], a[3], b[3])]
            }
        }
    }

    /// Adds the four products of i8 in each lane to `sum`.
    ///
    /// Inline assembly, because the intrinsic is not stable yet. The function has the instruction's
    /// feature, as the intrinsic does, because the assembler requires the feature where nothing is
    /// inlined.
    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    fn sdot(mut sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: the function has the feature, and the instruction only reads and writes
        // registers.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }
}
