//! NEON: a vector is four registers of four f32, lanes 0 to 3 in the first.

use std::arch::aarch64::*;

use crate::level::Neon;
use crate::simd::{LANES, Simd};

/// Calls intrinsics of NEON.
macro_rules! neon {
    ($call:expr) => {
        // SAFETY: `self` is a proof that exists only after detection found NEON. Intrinsics that
        // read or write memory get the four quarters of a reference to sixteen elements.
        unsafe { $call }
    };
}

/// Applies an expression to each of the four registers.
macro_rules! each {
    ($q:ident => $value:expr) => {
        neon!({
            let zero = vdupq_n_f32(0.0);
            let mut out = [zero; 4];
            let mut $q = 0;
            while $q < 4 {
                out[$q] = $value;
                $q += 1;
            }
            out
        })
    };
}

/// Applies an expression to each of the four registers of integers.
macro_rules! each_i32 {
    ($q:ident => $value:expr) => {
        neon!({
            let mut out = [vdupq_n_s32(0); 4];
            let mut $q = 0;
            while $q < 4 {
                out[$q] = $value;
                $q += 1;
            }
            out
        })
    };
}

impl Simd for Neon {
    type F = [float32x4_t; 4];
    type I = [int32x4_t; 4];

    // 24 registers of accumulators, 4 of weights and a broadcast: 29 of the 32 registers.
    const MR: usize = 6;
    const NR_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        neon!([vdupq_n_f32(x); 4])
    }

    #[inline(always)]
    fn load_array(self, from: &[f32; LANES]) -> Self::F {
        each!(q => vld1q_f32(from.as_ptr().add(4 * q)))
    }

    #[inline(always)]
    fn store_array(self, to: &mut [f32; LANES], v: Self::F) {
        neon!({
            let mut q = 0;
            while q < 4 {
                vst1q_f32(to.as_mut_ptr().add(4 * q), v[q]);
                q += 1;
            }
        })
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => vaddq_f32(a[q], b[q]))
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => vsubq_f32(a[q], b[q]))
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => vmulq_f32(a[q], b[q]))
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => vdivq_f32(a[q], b[q]))
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        each!(q => vfmaq_f32(c[q], a[q], b[q]))
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        // Not vmaxq_f32, which returns NaN if either operand is NaN.
        each!(q => vbslq_f32(vcgtq_f32(a[q], b[q]), a[q], b[q]))
    }

    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        each!(q => vabsq_f32(a[q]))
    }

    #[inline(always)]
    fn select_lt(self, a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F {
        each!(q => vbslq_f32(vcltq_f32(a[q], b[q]), yes[q], no[q]))
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, a: Self::F) -> Self::F {
        each!(q => vreinterpretq_f32_s32(vshlq_n_s32::<23>(vreinterpretq_s32_f32(a[q]))))
    }

    #[inline(always)]
    fn interleave(self, a: Self::F, b: Self::F) -> (Self::F, Self::F) {
        let half =
            |a0, b0, a1, b1| neon!([vzip1q_f32(a0, b0), vzip2q_f32(a0, b0), vzip1q_f32(a1, b1), vzip2q_f32(a1, b1)]);
        (half(a[0], b[0], a[1], b[1]), half(a[2], b[2], a[3], b[3]))
    }

    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store_array(&mut lanes, v);
        // The same tree as on every level: +8, +4, then +2 and +1.
        let quarter = |i: usize| (lanes[i] + lanes[i + 8]) + (lanes[i + 4] + lanes[i + 12]);
        (quarter(0) + quarter(2)) + (quarter(1) + quarter(3))
    }

    #[inline(always)]
    fn max_lane(self, v: Self::F) -> f32 {
        neon!(vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(v[0], v[1]), vmaxnmq_f32(v[2], v[3]))))
    }

    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        each_i32!(q => vld1q_s32(from.as_ptr().add(4 * q)))
    }

    #[inline(always)]
    fn to_f32(self, v: Self::I) -> Self::F {
        each!(q => vcvtq_f32_s32(v[q]))
    }

    #[inline(always)]
    fn widen_bf16(self, packed: &[u32; LANES], high: bool) -> Self::F {
        each!(q => {
            let packed = vld1q_u32(packed.as_ptr().add(4 * q));
            vreinterpretq_f32_u32(if high { vandq_u32(packed, vdupq_n_u32(0xffff_0000)) } else { vshlq_n_u32::<16>(packed) })
        })
    }

    #[inline(always)]
    fn widen_i8(self, packed: &[u32; LANES], odd: bool) -> Self::I {
        each_i32!(q => {
            let packed = vreinterpretq_s16_u32(vld1q_u32(packed.as_ptr().add(4 * q)));
            vreinterpretq_s32_s16(vshrq_n_s16::<8>(if odd { packed } else { vshlq_n_s16::<8>(packed) }))
        })
    }

    #[inline(always)]
    fn splat_pair(self, pair: u32) -> Self::I {
        neon!([vdupq_n_s32(pair.cast_signed()); 4])
    }

    #[inline(always)]
    fn add_products(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        each_i32!(q => {
            let a = vreinterpretq_s16_s32(a[q]);
            let b = vreinterpretq_s16_s32(b[q]);
            let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
            vaddq_s32(sum[q], vpaddq_s32(low, vmull_high_s16(a, b)))
        })
    }
}
