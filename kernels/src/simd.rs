//! The vector operations that every level provides.

/// Lanes of a vector on every level: sixteen f32.
///
/// A vector is one AVX-512 register, two of AVX2, four of SSE or NEON. Fixing the number of lanes
/// instead of the register fixes the order in which lanes are added, and with it the bits of every
/// sum.
pub(crate) const LANES: usize = 16;

/// 1.5 · 2²³. Adding it to an f32 between −2²² and 2²² rounds to the nearest integer (ties to
/// even).
///
/// The low bits of the sum hold that integer in two's complement; subtracting the constant again
/// returns it as f32.
pub(crate) const ROUND_TO_INTEGER: f32 = 12_582_912.0;

/// Sixteen f32 lanes and their operations.
///
/// A value of the implementing type proves that this CPU has the instructions (see `level.rs`).
/// Every method is `#[inline(always)]` and none carries `#[target_feature]`: the function that
/// calls an operator with the level does.
///
/// Comparisons follow x86: if an operand is NaN, `max` returns its second operand and `select_lt`
/// its last.
pub(crate) trait Simd: Copy {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32, or sixteen pairs of i16.
    type I: Copy;

    /// MR, the rows of a register tile: R at most, along M of the product. Chosen so that
    /// `MR * NR_VECTORS` vectors of accumulators and `NR_VECTORS` of weights fit the registers.
    const MR: usize;
    /// NR, the columns of a register tile, in vectors of sixteen: C, along N of the product.
    const NR_VECTORS: usize;

    /// Sets all lanes to x.
    fn splat(self, x: f32) -> Self::F;

    /// Loads sixteen elements, which need not be aligned.
    fn load_array(self, from: &[f32; LANES]) -> Self::F;

    /// Stores sixteen elements, which need not be aligned.
    fn store_array(self, to: &mut [f32; LANES], v: Self::F);

    /// Prefetches the cache line of an element, on levels that have such an instruction.
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

    /// Returns a + b.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// Returns a − b.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// Returns a · b.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// Returns a / b, correctly rounded.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// Returns a · b + c, rounded once if [`crate::Level::is_fused`].
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Returns the larger of a and b, lane by lane.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// Returns |a|.
    fn abs(self, a: Self::F) -> Self::F;
    /// Selects lane by lane: `if a < b { yes } else { no }`.
    fn select_lt(self, a: Self::F, b: Self::F, yes: Self::F, no: Self::F) -> Self::F;
    /// Shifts the bits of each lane left by 23: its low eight bits become the exponent of the
    /// result.
    fn low_bits_to_exponent(self, a: Self::F) -> Self::F;
    /// Interleaves the lanes of a and b: `a0 b0 a1 b1 … a7 b7` and `a8 b8 … a15 b15`.
    fn interleave(self, a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// Adds all lanes by one fixed tree: lane i + lane i+8, then +4, then +2, then +1.
    fn sum(self, v: Self::F) -> f32;
    /// Returns the largest lane.
    fn max_lane(self, v: Self::F) -> f32;

    /// Loads sixteen i32, which need not be aligned.
    fn load_i32(self, from: &[i32; LANES]) -> Self::I;
    /// Converts each i32 to the nearest f32.
    fn to_f32(self, v: Self::I) -> Self::F;
    /// Rounds each lane to the nearest integer (ties to even), clamps it to 0..=255 and narrows it
    /// to `u8`. The result of a NaN lane is unspecified.
    #[inline(always)]
    fn to_u8_lanes(self, v: Self::F) -> [u8; LANES] {
        let mut lanes = [0.0; LANES];
        self.store_array(&mut lanes, v);
        lanes.map(to_u8)
    }
    /// Widens one bf16 of each packed pair to f32: the one in the high half or in the low half.
    fn widen_bf16(self, packed: &[u32; LANES], high: bool) -> Self::F;
    /// Widens two of the four i8 of each packed element to a pair of i16: bytes 1 and 3, or bytes 0
    /// and 2.
    fn widen_i8(self, packed: &[u32; LANES], odd: bool) -> Self::I;
    /// Sets all lanes to one pair of i16: the low and the high half of `pair`. (Or to any other
    /// packed element: the bits are not interpreted.)
    fn splat_pair(self, pair: u32) -> Self::I;
    /// Adds the two products of each lane's pairs of i16: `sum + a.low · b.low + a.high · b.high`.
    fn add_products(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;

    /// Transposes sixteen rows of sixteen.
    ///
    /// This is a perfect shuffle, four times. Number the 256 elements by 8 bits, four of the row
    /// and four of the lane. Interleaving rows i and i + 8 moves the highest bit of the row to the
    /// lowest of the lane, and the highest bit of the lane to the lowest of the row. That rotates
    /// the number by one bit; after four rounds row and lane are exchanged.
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

    /// Loads the first sixteen elements of a slice.
    ///
    /// # Panics
    /// If the slice is shorter.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::F {
        match from.first_chunk() {
            Some(from) => self.load_array(from),
            None => slice_too_short(from.len()),
        }
    }

    /// Stores to the first sixteen elements of a slice.
    ///
    /// # Panics
    /// If the slice is shorter.
    #[inline(always)]
    fn store(self, to: &mut [f32], v: Self::F) {
        match to.first_chunk_mut() {
            Some(to) => self.store_array(to, v),
            None => slice_too_short(to.len()),
        }
    }

    /// Loads a slice of at most sixteen elements; the lanes after its end become `fill`.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::F {
        if from.len() == LANES {
            return self.load(from);
        }
        let mut lanes = [fill; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// Stores the first lanes to a slice of at most sixteen elements.
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

/// Narrows a number to `u8` as [`Simd::to_u8_lanes`] does.
#[inline(always)]
pub(crate) fn to_u8(x: f32) -> u8 {
    (x.clamp(0.0, 255.0) + ROUND_TO_INTEGER).to_bits() as u8
}

/// Detects NaN and infinity among vectors by accumulating Σ v · 0.
///
/// The sum is 0 while every element is finite, and NaN from the first other element on. A maximum
/// cannot detect a NaN, because the larger of a number and NaN may be the number.
#[derive(Clone, Copy)]
pub(crate) struct NanPoison<S: Simd>(S::F);

impl<S: Simd> NanPoison<S> {
    /// Starts with no elements.
    #[inline(always)]
    pub(crate) fn new(s: S) -> Self {
        Self(s.splat(0.0))
    }

    /// Accumulates sixteen elements.
    #[inline(always)]
    pub(crate) fn accumulate(&mut self, s: S, v: S::F) {
        self.0 = s.mul_add(v, s.splat(0.0), self.0);
    }

    /// Returns 0 in each lane whose elements were all finite, NaN in the others.
    #[inline(always)]
    pub(crate) fn value(self) -> S::F {
        self.0
    }
}

#[cold]
fn slice_too_short(len: usize) -> ! {
    panic!("SIMD vector: expected a slice of at least {LANES} elements, found {len}")
}
