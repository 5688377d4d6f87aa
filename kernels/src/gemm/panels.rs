//! Panels: a right-hand matrix as the microkernel reads it.

use super::transpose::transpose;
use crate::level::Level;
use crate::memory::AlignedScratch;
use crate::view::MatRef;

/// A right-hand matrix B `[K, N]`, cut into panels of `width` columns. Its elements are f32, or
/// packed bf16 or int8.
#[derive(Debug)]
pub struct Panels<'a, T = f32> {
    data: &'a [T],
    n: usize,
    k: usize,
    width: usize,
    /// Distance from one panel to the next.
    panel_stride: usize,
    /// Distance from one k to the next in a panel.
    k_stride: usize,
    /// Columns of zeros after the last, up to the end of its panel.
    padding: usize,
}

// Not derived: a derived impl would require T: Copy, which a borrow does not need.
impl<T> Clone for Panels<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Panels<'_, T> {}

impl<'a> Panels<'a> {
    /// Borrows B `[K, N]`, row by row, without packing: its rows already keep `width` neighbouring
    /// columns together.
    ///
    /// Returns None if the last panel would extend past the rows, because N is not a multiple of
    /// the level's panel width.
    pub fn in_place(level: Level, b: MatRef<'a>) -> Option<Self> {
        let width = level.panel_width();
        let is_whole = b.cols().is_multiple_of(width);
        is_whole.then(|| Self {
            data: b.data(),
            n: b.cols(),
            k: b.rows(),
            width,
            panel_stride: width,
            k_stride: b.stride(),
            padding: 0,
        })
    }

    /// Copies B `[K, N]` to `scratch`, panel by panel, for matrices that [`Self::in_place`]
    /// rejects.
    pub fn copied(level: Level, b: MatRef<'_>, scratch: &'a mut AlignedScratch) -> Self {
        let width = level.panel_width();
        let k = b.rows();
        let n = b.cols();
        let packed = scratch.slice_mut(checked_size(n.next_multiple_of(width), k));
        packed.fill(0.0);
        for i in 0..k {
            for (panel, part) in b.row(i).chunks(width).enumerate() {
                packed[panel * k * width + i * width..][..part.len()].copy_from_slice(part);
            }
        }
        Self::packed(packed, n, k, width)
    }

    /// Packs the transpose of B' `[N, K]` to `scratch`: columns of the product are rows of B'.
    pub fn transposed(level: Level, b: MatRef<'_>, scratch: &'a mut AlignedScratch) -> Self {
        let width = level.panel_width();
        let n = b.rows();
        let k = b.cols();
        let packed = scratch.slice_mut(checked_size(n.next_multiple_of(width), k));
        // Every element is written, those after the last column as zeros.
        for (i, panel) in packed.chunks_exact_mut((k * width).max(1)).enumerate() {
            transpose(level, b.rows_in(i * width..n.min((i + 1) * width)), panel, width);
        }
        Self::packed(packed, n, k, width)
    }
}

impl<'a, T: Copy> Panels<'a, T> {
    /// Returns the panels of W `[N, K]`, packed one after another.
    pub(super) fn packed(data: &'a [T], n: usize, k: usize, width: usize) -> Self {
        let padding = n.next_multiple_of(width) - n;
        Self { data, n, k, width, panel_stride: k * width, k_stride: width, padding }
    }

    /// Returns the matrix of the columns `range`.
    ///
    /// # Panics
    /// If the range does not start at a panel, or ends after the last column.
    pub fn columns(self, range: std::ops::Range<usize>) -> Self {
        assert!(
            range.start.is_multiple_of(self.width) && range.end <= self.n,
            "panels: columns {range:?} of {}: the start must be a multiple of the panel width {}",
            self.n,
            self.width
        );
        let start = (range.start / self.width * self.panel_stride).min(self.data.len());
        let padding = if range.end == self.n { self.padding } else { 0 };
        Self { data: &self.data[start..], n: range.len(), padding, ..self }
    }

    /// Returns the matrix of the rows `range`: the part of the sums that they contribute.
    ///
    /// # Panics
    /// If the range ends after the last row.
    pub fn rows(self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.k, "panels: rows {range:?} of {}", self.k);
        let start = (range.start * self.k_stride).min(self.data.len());
        Self { data: &self.data[start..], k: range.len(), ..self }
    }

    /// Returns the number of rows of B: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Returns the number of columns of B.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Returns the number of columns in a panel.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns whether an output of `cols` columns has those of B and at most the padding of the
    /// last panel.
    pub(super) fn fits(&self, cols: usize) -> bool {
        self.n <= cols && cols <= self.n + self.padding
    }

    /// Iterates over column n: `B[0][n]`, `B[1][n]`, …
    pub(super) fn column(&self, n: usize) -> impl Iterator<Item = T> + use<'a, T> {
        let first = (n / self.width * self.panel_stride + n % self.width).min(self.data.len());
        self.data[first..].iter().step_by(self.k_stride.max(1)).copied().take(self.k)
    }

    /// Returns panel i.
    #[inline(always)]
    pub(super) fn panel(&self, i: usize) -> Panel<'a, T> {
        Panel { data: &self.data[(i * self.panel_stride).min(self.data.len())..], stride: self.k_stride }
    }
}

/// One panel to multiply with: K rows of `width` elements, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a, T> {
    pub data: &'a [T],
    pub stride: usize,
}

/// Returns the size of a matrix, which must not overflow.
pub(super) fn checked_size(n: usize, k: usize) -> usize {
    n.checked_mul(k).unwrap_or_else(|| panic!("matrix of {n} x {k}: the number of elements overflows"))
}
