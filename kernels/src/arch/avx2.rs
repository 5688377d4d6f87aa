//! AVX2 with FMA: a vector is two registers of eight f32, lanes 0 to 7 in the first.

use std::arch::x86_64::*;

use crate::level::Avx2;
use crate::simd::{LANES, Simd};

/// Calls intrinsics of AVX2 and FMA.
macro_rules! avx2 {
    ($call:expr) => {
        // SAFETY: `self` is a proof that exists only after detection found AVX2 and FMA. Intrinsics
        // that read or write memory get the two halves of a reference to sixteen elements. A
        // prefetch accesses no memory, whatever the address.
        unsafe { $call }
    };
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];

    // 12 registers of accumulators, 2 of weights and a broadcast: 15 of the 16. No other vector
    // fits, so nothing else may be added to the loop (tests/hot_loop.rs counts its instructions).
    const MR: usize = 6;
    const NR_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        avx2!([_mm256_set1_ps(x); 2])
    }

    #[inline(always)]
    fn load_array(self, from: &[f32; LANES]) -> Self::F {
        avx2!([_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))])
    }

    #[inline(always)]
    fn store_array(self, to: &mut [f32; LANES], v: Self::F) {
        avx2!({
            _mm256_storeu_ps(to.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), v[1]);
        })
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        avx2!(_mm_prefetch::<_MM_HINT_T0>(at.cast()));
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        avx2!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        avx2!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        avx2!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        avx2!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        avx2!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        avx2!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        avx2!({
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
        })
    }

    #[inline(always)]
    fn select_lt(self, a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F {
        avx2!([
            _mm256_blendv_ps(no[0], yes[0], _mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0])),
            _mm256_blendv_ps(no[1], yes[1], _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])),
        ])
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, a: Self::F) -> Self::F {
        avx2!([
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a[0]))),
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a[1]))),
        ])
    }

    #[inline(always)]
    fn interleave(self, a: Self::F, b: Self::F) -> (Self::F, Self::F) {
        // Yields `a0 b0 a1 b1` and `a2 b2 a3 b3` in each half of a register; then the halves are
        // put in order.
        let half = |a: __m256, b: __m256| {
            avx2!({
                let even = _mm256_unpacklo_ps(a, b);
                let odd = _mm256_unpackhi_ps(a, b);
                [_mm256_permute2f128_ps::<0x20>(even, odd), _mm256_permute2f128_ps::<0x31>(even, odd)]
            })
        };
        (half(a[0], b[0]), half(a[1], b[1]))
    }

    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        avx2!({
            let v = _mm256_add_ps(v[0], v[1]);
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        })
    }

    #[inline(always)]
    fn max_lane(self, v: Self::F) -> f32 {
        avx2!({
            let v = _mm256_max_ps(v[0], v[1]);
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        })
    }

    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        avx2!([_mm256_loadu_si256(from.as_ptr().cast()), _mm256_loadu_si256(from.as_ptr().add(8).cast())])
    }

    #[inline(always)]
    fn to_f32(self, v: Self::I) -> Self::F {
        avx2!([_mm256_cvtepi32_ps(v[0]), _mm256_cvtepi32_ps(v[1])])
    }

    #[inline(always)]
    fn widen_bf16(self, packed: &[u32; LANES], high: bool) -> Self::F {
        let half = |at: usize| {
            avx2!({
                let packed = _mm256_loadu_si256(packed.as_ptr().add(at).cast());
                _mm256_castsi256_ps(if high {
                    _mm256_and_si256(packed, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()))
                } else {
                    _mm256_slli_epi32::<16>(packed)
                })
            })
        };
        [half(0), half(8)]
    }

    #[inline(always)]
    fn widen_i8(self, packed: &[u32; LANES], odd: bool) -> Self::I {
        let half = |at: usize| {
            avx2!({
                let packed = _mm256_loadu_si256(packed.as_ptr().add(at).cast());
                _mm256_srai_epi16::<8>(if odd { packed } else { _mm256_slli_epi16::<8>(packed) })
            })
        };
        [half(0), half(8)]
    }

    #[inline(always)]
    fn splat_pair(self, pair: u32) -> Self::I {
        avx2!([_mm256_set1_epi32(pair.cast_signed()); 2])
    }

    #[inline(always)]
    fn add_products(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        avx2!([
            _mm256_add_epi32(sum[0], _mm256_madd_epi16(a[0], b[0])),
            _mm256_add_epi32(sum[1], _mm256_madd_epi16(a[1], b[1])),
        ])
    }
}
