//! AVX-512: a vector is one register of sixteen f32.

use std::arch::x86_64::*;

use crate::level::Avx512;
use crate::simd::{LANES, Simd};

/// Calls intrinsics of AVX-512 F, BW and DQ.
macro_rules! avx512 {
    ($call:expr) => {
        // SAFETY: `self` is a proof that exists only after detection found AVX-512 F, BW and DQ.
        // Intrinsics that read or write memory get references to all sixteen elements. A prefetch
        // accesses no memory, whatever the address.
        unsafe { $call }
    };
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;

    // 24 accumulators, 2 vectors of weights and a broadcast leave 5 of the 32 registers free.
    // Twelve rows hide the latency of the multiply-add (4 cycles, at most 2 a cycle: at least 8 in
    // flight) and load each weight half as often as six rows.
    const MR: usize = 12;
    const NR_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        avx512!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load_array(self, from: &[f32; LANES]) -> __m512 {
        avx512!(_mm512_loadu_ps(from.as_ptr()))
    }

    #[inline(always)]
    fn store_array(self, to: &mut [f32; LANES], v: __m512) {
        avx512!(_mm512_storeu_ps(to.as_mut_ptr(), v))
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        avx512!(_mm_prefetch::<_MM_HINT_T0>(at.cast()));
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        avx512!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        avx512!(_mm512_abs_ps(a))
    }

    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        avx512!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes))
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, a: __m512) -> __m512 {
        avx512!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))))
    }

    #[inline(always)]
    fn interleave(self, a: __m512, b: __m512) -> (__m512, __m512) {
        avx512!({
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            (_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b))
        })
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        avx512!({
            let v = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        })
    }

    #[inline(always)]
    fn max_lane(self, v: __m512) -> f32 {
        avx512!(_mm512_reduce_max_ps(v))
    }

    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> __m512i {
        avx512!(_mm512_loadu_si512(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn to_f32(self, v: __m512i) -> __m512 {
        avx512!(_mm512_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn to_u8_lanes(self, v: __m512) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        // The second narrowing saturates as unsigned.
        avx512!({
            let integers = _mm512_cvtps_epi32(_mm512_max_ps(v, _mm512_setzero_ps()));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(integers));
        });
        bytes
    }

    #[inline(always)]
    fn widen_bf16(self, packed: &[u32; LANES], high: bool) -> __m512 {
        avx512!({
            let packed = _mm512_loadu_si512(packed.as_ptr().cast());
            _mm512_castsi512_ps(if high {
                _mm512_and_si512(packed, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()))
            } else {
                _mm512_slli_epi32::<16>(packed)
            })
        })
    }

    #[inline(always)]
    fn widen_i8(self, packed: &[u32; LANES], odd: bool) -> __m512i {
        avx512!({
            let packed = _mm512_loadu_si512(packed.as_ptr().cast());
            _mm512_srai_epi16::<8>(if odd { packed } else { _mm512_slli_epi16::<8>(packed) })
        })
    }

    #[inline(always)]
    fn splat_pair(self, pair: u32) -> __m512i {
        avx512!(_mm512_set1_epi32(pair.cast_signed()))
    }

    #[inline(always)]
    fn add_products(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        avx512!(_mm512_add_epi32(sum, _mm512_madd_epi16(a, b)))
    }
}
