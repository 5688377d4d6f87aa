//! Packing: weights in the order in which the tile reads them.
//!
//! A linear layer computes x · Wᵀ with W `[N, K]` stored row by row (N output features, K inputs). For one step of k the
//! tile wants the weights of `width` neighbouring outputs next to one another. So W is cut into panels of `width` rows,
//! and each panel is stored transposed:
//!
//! ```text
//! W, width = 4, N = 8, K = 3                 memory
//!
//!        k=0 k=1 k=2                          panel 0: 0 3 6 9 | 1 4 7 a | 2 5 8 b
//! n=0     0   1   2  ┐                                 └ k=0 ┘  └ k=1 ┘  └ k=2 ┘
//! n=1     3   4   5  │ panel 0                panel 1: c f i l | d g j m | e h k n
//! n=2     6   7   8  │
//! n=3     9   a   b  ┘
//! n=4     c   d   e  ┐
//! n=5     f   g   h  │ panel 1
//! n=6     i   j   k  │
//! n=7     l   m   n  ┘
//! ```
//!
//! The last panel is filled up with zeros. The memory is the caller's, who may have all weights of a model in one block;
//! it should start at a cache line, because a vector that straddles two lines loads at half the rate.

use std::ops::Range;

use super::panels::Panels;
use super::quantized::QuantizedMatrix;
use super::transpose::transpose;
use crate::level::Level;
use crate::quant::{Precision, quantize_weights};
use crate::view::MatRef;

/// A cache line, in bytes and in numbers.
pub(super) const LINE: usize = 64;
pub(super) const LINE_NUMBERS: usize = LINE / size_of::<f32>();

/// How the weight matrix W `[N, K]` of a linear layer is packed for one level; the numbers are elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct PackedLayout {
    level: Level,
    n: usize,
    k: usize,
    width: usize,
}

impl PackedLayout {
    /// For W `[n, k]`.
    pub fn new(level: Level, n: usize, k: usize) -> Self {
        Self { level, n, k, width: level.panel_width() }
    }

    /// Output features.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Input features.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Panels, K, and columns in a panel: its shape as an array.
    pub fn shape(&self) -> [usize; 3] {
        [self.n.div_ceil(self.width), self.k, self.width]
    }

    /// Numbers that it takes, padding included.
    ///
    /// # Panics
    /// If they are more than memory holds.
    pub fn elements(&self) -> usize {
        product(self.n.next_multiple_of(self.width), self.k)
    }

    /// The panels, to multiply with.
    ///
    /// # Panics
    /// If `packed` has not [`Self::elements`] numbers.
    pub fn panels(self, packed: &[f32]) -> Panels<'_> {
        assert_eq!(packed.len(), self.elements(), "numbers of a packed matrix");
        Panels::packed(packed, self.n, self.k, self.width)
    }

    /// The panels of a matrix of words, to multiply with: K is words then.
    ///
    /// Words are packed as if they were f32, because packing moves them and computes nothing.
    ///
    /// # Panics
    /// If `packed` has not [`Self::elements`] words.
    pub fn quantized_panels(self, packed: &[f32]) -> Panels<'_, u32> {
        assert_eq!(packed.len(), self.elements(), "words of a packed matrix");
        Panels::packed(wide::bytemuck::cast_slice(packed), self.n, self.k, self.width)
    }

    /// The panels, to fill; they are disjoint, so several threads may do it.
    ///
    /// # Panics
    /// If `packed` has not [`Self::elements`] numbers.
    pub fn panels_mut(self, packed: &mut [f32]) -> impl Iterator<Item = PanelMut<'_>> {
        assert_eq!(packed.len(), self.elements(), "numbers of a packed matrix");
        packed.chunks_mut((self.k * self.width).max(1)).enumerate().map(move |(i, data)| PanelMut {
            layout: self,
            rows: i * self.width..self.n.min((i + 1) * self.width),
            data,
        })
    }
}

/// One panel of W, to fill.
pub struct PanelMut<'a> {
    layout: PackedLayout,
    /// The rows of W that it holds.
    rows: Range<usize>,
    data: &'a mut [f32],
}

impl PanelMut<'_> {
    /// The rows of W that it holds.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Fills it from these rows of W `[rows, K]`.
    ///
    /// # Panics
    /// If `w` has another shape.
    pub fn fill(&mut self, w: MatRef<'_>) {
        assert_eq!((w.rows(), w.cols()), (self.rows.len(), self.layout.k), "shape of a panel's rows");
        transpose(self.layout.level, w, self.data, self.layout.width);
    }
}

/// A packed weight matrix with memory of its own.
pub struct PackedMatrix {
    layout: PackedLayout,
    /// The panels, from `start` on.
    data: Vec<f32>,
    /// The first number at a cache line.
    start: usize,
}

impl PackedMatrix {
    /// Packs W `[N, K]`.
    pub fn pack(level: Level, w: MatRef<'_>) -> Self {
        let layout = PackedLayout::new(level, w.rows(), w.cols());
        let numbers = layout.elements();
        // A Vec<f32> may start anywhere; a line more than is needed leaves room to begin at one.
        let mut data = vec![0.0; numbers + LINE_NUMBERS];
        let start = data.as_ptr().align_offset(LINE);
        for mut panel in layout.panels_mut(&mut data[start..][..numbers]) {
            panel.fill(w.rows_in(panel.rows()));
        }
        Self { layout, data, start }
    }

    /// All panels, to multiply with.
    pub fn panels(&self) -> Panels<'_> {
        self.layout.panels(self.numbers())
    }

    fn numbers(&self) -> &[f32] {
        &self.data[self.start..][..self.layout.elements()]
    }
}

/// A weight matrix as packed words, with memory of its own.
pub struct PackedQuantizedMatrix {
    precision: Precision,
    words: PackedMatrix,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl PackedQuantizedMatrix {
    /// Rounds W `[N, K]` and packs it.
    ///
    /// # Panics
    /// If the precision is f32, which has no words, or K is more than the precision takes.
    pub fn pack(level: Level, precision: Precision, w: MatRef<'_>) -> Self {
        let (n, k) = (w.rows(), precision.packed_len(w.cols()));
        let mut words = vec![0.0; product(n, k)];
        let quantize = |i: usize| quantize_weights(level, precision, w.row(i), &mut words[i * k..][..k]);
        let (scales, sums) = (0..n).map(quantize).unzip();
        let words = PackedMatrix::pack(level, MatRef::new(&words, n, k));
        let packed = match precision {
            Precision::Int8 => Self { precision, words, scales, sums },
            _ => Self { precision, words, scales: Vec::new(), sums: Vec::new() },
        };
        packed.matrix();
        packed
    }

    /// To multiply with.
    pub fn matrix(&self) -> QuantizedMatrix<'_> {
        let panels = self.words.layout.quantized_panels(self.words.numbers());
        QuantizedMatrix::new(self.precision, panels, &self.scales, &self.sums)
    }
}

/// The size of a matrix, which must not wrap around.
pub(super) fn product(n: usize, k: usize) -> usize {
    n.checked_mul(k).unwrap_or_else(|| panic!("a matrix of {n} by {k} is more than memory holds"))
}

/// Columns that fill up the last panel of `n`.
pub(super) fn padding(n: usize, width: usize) -> usize {
    n.next_multiple_of(width) - n
}
