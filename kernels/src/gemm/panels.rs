//! Panels: a right-hand matrix as the tile reads it.

use super::pack::{LINE, LINE_NUMBERS, padding, product};
use super::transpose::transpose;
use crate::level::Level;
use crate::view::MatRef;

/// Memory that is used again and again, and begins at a cache line.
#[derive(Debug, Default)]
pub struct AlignedScratch {
    data: Vec<f32>,
}

impl AlignedScratch {
    /// So many numbers, whose values are unspecified.
    pub fn slice_mut(&mut self, numbers: usize) -> &mut [f32] {
        // A Vec<f32> may start anywhere; a line more than is needed leaves room to begin at one.
        if self.data.len() < numbers + LINE_NUMBERS {
            self.data = vec![0.0; numbers + LINE_NUMBERS];
        }
        let start = self.data.as_ptr().align_offset(LINE).min(LINE_NUMBERS);
        &mut self.data[start..][..numbers]
    }
}

/// A right-hand matrix B `[K, N]`, cut into panels of `width` columns. Its elements are f32, or words of smaller numbers.
#[derive(Debug)]
pub struct Panels<'a, T = f32> {
    data: &'a [T],
    n: usize,
    k: usize,
    width: usize,
    /// From one panel to the next.
    next: usize,
    /// From one k to the next in a panel.
    stride: usize,
    /// Columns of zeros after the last, up to the end of its panel.
    padding: usize,
}

// Not derived: that would ask for T: Copy, which a borrow does not need.
impl<T> Clone for Panels<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Panels<'_, T> {}

impl<'a> Panels<'a> {
    /// B `[K, N]` as it lies, row by row, without packing: its rows already hold `width` neighbouring columns together.
    /// None if the last panel would reach beyond the rows, because N is not a multiple of the level's width.
    pub fn in_place(level: Level, b: MatRef<'a>) -> Option<Self> {
        let width = level.panel_width();
        let whole = b.cols().is_multiple_of(width);
        whole.then(|| Self {
            data: b.data(),
            n: b.cols(),
            k: b.rows(),
            width,
            next: width,
            stride: b.stride(),
            padding: 0,
        })
    }

    /// Copies B `[K, N]` to `scratch`, panel by panel. For matrices that [`Self::in_place`] refuses.
    pub fn copied(level: Level, b: MatRef<'_>, scratch: &'a mut AlignedScratch) -> Self {
        let width = level.panel_width();
        let (k, n) = (b.rows(), b.cols());
        let packed = scratch.slice_mut(product(n.next_multiple_of(width), k));
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
        let (n, k) = (b.rows(), b.cols());
        let packed = scratch.slice_mut(product(n.next_multiple_of(width), k));
        // Every number is written: those beyond the last column as zeros.
        for (i, panel) in packed.chunks_exact_mut((k * width).max(1)).enumerate() {
            transpose(level, b.rows_in(i * width..n.min((i + 1) * width)), panel, width);
        }
        Self::packed(packed, n, k, width)
    }
}

impl<'a, T: Copy> Panels<'a, T> {
    /// The panels of W `[N, K]`, packed one after another.
    pub(super) fn packed(data: &'a [T], n: usize, k: usize, width: usize) -> Self {
        Self { data, n, k, width, next: k * width, stride: width, padding: padding(n, width) }
    }

    /// Some of the panels, as a matrix of its own: those of columns `range`.
    ///
    /// # Panics
    /// If the range does not begin at a panel.
    pub fn columns(self, range: std::ops::Range<usize>) -> Self {
        assert!(
            range.start.is_multiple_of(self.width) && range.end <= self.n,
            "columns {range:?} by {} of {}",
            self.width,
            self.n
        );
        let start = (range.start / self.width * self.next).min(self.data.len());
        let padding = if range.end == self.n { self.padding } else { 0 };
        Self { data: &self.data[start..], n: range.len(), padding, ..self }
    }

    /// Rows of B: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of B.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns in a panel.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether an output of `cols` columns has those of B and at most the padding of the last panel.
    pub(crate) fn fits(&self, cols: usize) -> bool {
        self.n <= cols && cols <= self.n + self.padding
    }

    /// Column n: `B[0][n]`, `B[1][n]`, …
    pub(crate) fn column(&self, n: usize) -> impl Iterator<Item = T> + use<'a, T> {
        let first = (n / self.width * self.next + n % self.width).min(self.data.len());
        self.data[first..].iter().step_by(self.stride.max(1)).copied().take(self.k)
    }

    /// Panel i.
    #[inline(always)]
    pub(super) fn panel(&self, i: usize) -> Panel<'a, T> {
        Panel { data: &self.data[(i * self.next).min(self.data.len())..], stride: self.stride }
    }
}

/// One panel, to multiply with: K rows of `width` numbers, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a, T> {
    pub data: &'a [T],
    pub stride: usize,
}
