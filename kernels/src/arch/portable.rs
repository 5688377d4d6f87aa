//! The `wide` crate: a vector is four registers of four f32, in the SIMD of the target's baseline.
//!
//! On x86-64 that is SSE2, which has no fused multiply-add: `mul_add` rounds twice, so this level's
//! bits differ from the others'. On aarch64 it is NEON, which fuses.

use wide::{bytemuck::cast, f32x4, i16x8, i32x4, u32x4};

use crate::level::Portable;
use crate::simd::{LANES, Simd};

/// Applies an expression to each of the four registers.
///
/// Written out, because the compiler does not always inline `array::map` nor keep the array of a
/// loop in registers.
macro_rules! each {
    ($q:ident => $value:expr) => {
        [each!($q = 0, $value), each!($q = 1, $value), each!($q = 2, $value), each!($q = 3, $value)]
    };
    ($q:ident = $index:literal, $value:expr) => {{
        let $q = $index;
        $value
    }};
}

impl Simd for Portable {
    type F = [f32x4; 4];
    type I = [i32x4; 4];

    // 8 registers of accumulators, 4 of weights and a broadcast: 13 of the 16 of the smallest
    // targets.
    const MR: usize = 2;
    const NR_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [f32x4::splat(x); 4]
    }

    #[inline(always)]
    fn load_array(self, from: &[f32; LANES]) -> Self::F {
        cast(*from)
    }

    #[inline(always)]
    fn store_array(self, to: &mut [f32; LANES], v: Self::F) {
        *to = cast(v);
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => a[q] + b[q])
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => a[q] - b[q])
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => a[q] * b[q])
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => a[q] / b[q])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        each!(q => a[q].mul_add(b[q], c[q]))
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        each!(q => b[q].simd_lt(a[q]).select(a[q], b[q]))
    }

    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        each!(q => a[q].abs())
    }

    #[inline(always)]
    fn select_lt(self, a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F {
        each!(q => a[q].simd_lt(b[q]).select(yes[q], no[q]))
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, a: Self::F) -> Self::F {
        each!(q => cast(cast::<f32x4, i32x4>(a[q]) << 23))
    }

    #[inline(always)]
    fn interleave(self, a: Self::F, b: Self::F) -> (Self::F, Self::F) {
        let (a, b): ([f32; LANES], [f32; LANES]) = (cast(a), cast(b));
        let half = |first: usize| {
            let lanes: [f32; LANES] =
                std::array::from_fn(|i| if i % 2 == 0 { a[first + i / 2] } else { b[first + i / 2] });
            cast(lanes)
        };
        (half(0), half(LANES / 2))
    }

    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        let v: [f32; 4] = cast((v[0] + v[2]) + (v[1] + v[3]));
        (v[0] + v[2]) + (v[1] + v[3])
    }

    #[inline(always)]
    fn max_lane(self, v: Self::F) -> f32 {
        let v: [f32; 4] = cast(self.pair_max(self.pair_max(v[0], v[2]), self.pair_max(v[1], v[3])));
        v[0].max(v[1]).max(v[2].max(v[3]))
    }

    #[inline(always)]
    fn load_i32(self, from: &[i32; LANES]) -> Self::I {
        cast(*from)
    }

    #[inline(always)]
    fn to_f32(self, v: Self::I) -> Self::F {
        each!(q => v[q].round_float())
    }

    #[inline(always)]
    fn widen_bf16(self, packed: &[u32; LANES], high: bool) -> Self::F {
        let packed: [u32x4; 4] = cast(*packed);
        each!(q => cast(if high { packed[q] & u32x4::splat(0xffff_0000) } else { packed[q] << 16 }))
    }

    #[inline(always)]
    fn widen_i8(self, packed: &[u32; LANES], odd: bool) -> Self::I {
        let packed: [i16x8; 4] = cast(*packed);
        each!(q => cast((if odd { packed[q] } else { packed[q] << 8 }) >> 8))
    }

    #[inline(always)]
    fn splat_pair(self, pair: u32) -> Self::I {
        [i32x4::splat(pair.cast_signed()); 4]
    }

    #[inline(always)]
    fn add_products(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I {
        each!(q => sum[q] + cast::<i32x4, i16x8>(a[q]).dot(cast(b[q])))
    }
}

impl Portable {
    #[inline(always)]
    fn pair_max(self, a: f32x4, b: f32x4) -> f32x4 {
        b.simd_lt(a).select(a, b)
    }
}
