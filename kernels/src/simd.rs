//! The vector operations that every level provides.

/// Lanes of a vector on every level: sixteen f32.
///
/// One AVX-512 register, two of AVX2, four of SSE or NEON. Fixing the number of lanes instead of the register fixes the
/// order in which lanes are added up, and with it the bits of every sum.
pub(crate) const LANES: usize = 16;

/// Sixteen f32 and what can be done with them.
///
/// A value of the implementing type proves that this CPU has the instructions (see [`crate::level`](mod@crate::level)).
/// Every method is `#[inline(always)]` and none carries `#[target_feature]`: the function that enters the level does.
///
/// Comparisons follow x86: where an operand is NaN, `max` returns its second operand and `select_lt` its last.
pub(crate) trait Simd: Copy {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32, or sixteen pairs of i16.
    type I: Copy;

    /// Rows of the matmul tile, chosen so that `MR * NR_VECTORS` vectors of accumulators and `NR_VECTORS` of weights fit the registers.
    const MR: usize;
    /// Vectors in a row of the matmul tile.
    const NR_VECTORS: usize;

    /// All lanes x.
    fn splat(self, x: f32) -> Self::F;

    /// Sixteen numbers. They need not be aligned.
    fn load_array(self, from: &[f32; LANES]) -> Self::F;

    /// Writes sixteen numbers. They need not be aligned.
    fn store_array(self, to: &mut [f32; LANES], v: Self::F);

    /// Asks for the cache line that a number lies in, which will be needed soon; or does nothing.
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

    /// a + b.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// a - b.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// a * b.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// a / b, correctly rounded.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// a * b + c, rounded once where [`crate::Level::is_fused`].
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger of a and b.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// |a|.
    fn abs(self, a: Self::F) -> Self::F;
    /// Lane by lane `if a < b { yes } else { no }`.
    fn select_lt(self, a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F;
    /// The bits of each lane moved up by 23: its low eight bits become the exponent of the result.
    fn low_bits_to_exponent(self, a: Self::F) -> Self::F;
    /// The lanes of a and b in turn: `a0 b0 a1 b1 … a7 b7` and `a8 b8 … a15 b15`.
    fn interleave(self, a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// The sum of all lanes, by one tree: lane i + lane i+8, then +4, then +2, then +1.
    fn sum(self, v: Self::F) -> f32;
    /// The largest lane.
    fn max_lane(self, v: Self::F) -> f32;

    /// Sixteen i32. They need not be aligned.
    fn load_i32(self, from: &[i32; LANES]) -> Self::I;
    /// Each as the nearest f32.
    fn to_f32(self, v: Self::I) -> Self::F;
    /// Each lane as a byte: rounded to the nearest whole number, to even between two, and those beyond 0 and 255 to these. What
    /// becomes of NaN is not specified.
    #[inline(always)]
    fn to_u8_lanes(self, v: Self::F) -> [u8; LANES] {
        let mut lanes = [0.0; LANES];
        self.store_array(&mut lanes, v);
        lanes.map(to_u8)
    }
    /// Of each word, which is two bf16, the one in the low half or in the high half, widened.
    fn widen_bf16(self, words: &[u32; LANES], high: bool) -> Self::F;
    /// Of each word, which is four i8, numbers 0 and 2, or 1 and 3, as a pair of i16.
    fn widen_i8(self, words: &[u32; LANES], odd: bool) -> Self::I;
    /// All lanes the same pair of i16: the low and the high half of a word.
    fn splat_pair(self, pair: u32) -> Self::I;
    /// Each lane of `sum` plus the products of its two pairs: `sum + a.low · b.low + a.high · b.high`.
    fn add_products(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;

    /// Sixteen rows of sixteen, transposed.
    ///
    /// A perfect shuffle, four times. Number the 256 elements by 8 bits, four of the row and four of the lane: to interleave
    /// rows i and i + 8 moves the highest bit of the row to the lowest of the lane, and the highest of the lane to the lowest
    /// of the row. It rotates the number by one bit; after four rounds row and lane have changed places.
    #[inline(always)]
    fn transpose(self, mut rows: [Self::F; LANES]) -> [Self::F; LANES] {
        for _ in 0..4 {
            let old = rows;
            for i in 0..LANES / 2 {
                (rows[2 * i], rows[2 * i + 1]) = self.interleave(old[i], old[i + LANES / 2]);
            }
        }
        rows
    }

    /// The first sixteen numbers of a slice.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        match from.first_chunk() {
            Some(from) => self.load_array(from),
            None => too_short(from.len()),
        }
    }

    /// Writes to the first sixteen places of a slice.
    #[inline(always)]
    fn store(self, to: &mut [f32], v: Self::F) {
        match to.first_chunk_mut() {
            Some(to) => self.store_array(to, v),
            None => too_short(to.len()),
        }
    }

    /// A slice of at most sixteen numbers, with `fill` in the lanes beyond it.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::F {
        if from.len() == LANES {
            return self.load(from);
        }
        let mut lanes = [fill; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Writes the first lanes to a slice of at most sixteen numbers.
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], v: Self::F) {
        if to.len() == LANES {
            return self.store(to, v);
        }
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes, v);
        let n = to.len();
        to.copy_from_slice(&lanes[..n]);
    }
}

/// A number as a byte, as [`Simd::to_u8_lanes`] makes it.
#[inline(always)]
pub(crate) fn to_u8(x: f32) -> u8 {
    // Adding this makes an integer of a number between −2²² and 2²², in the low bits.
    const TO_INTEGER: f32 = 12_582_912.0;
    (x.clamp(0.0, 255.0) + TO_INTEGER).to_bits() as u8
}

#[cold]
fn too_short(len: usize) -> ! {
    panic!("a vector of {LANES} in a slice of {len}")
}
