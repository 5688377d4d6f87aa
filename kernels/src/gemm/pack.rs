//! Packing: weights in the order in which the microkernel reads them.
//!
//! A linear layer computes x · Wᵀ with W `[N, K]` stored row by row (N output features, K inputs).
//! For one step of K the microkernel needs the weights of `width` neighbouring outputs next to one
//! another. So W is cut into panels of `width` rows, and each panel is stored transposed:
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
//! The last panel is padded with zeros. The caller provides the memory, so all weights of a model
//! can share one block. It should start at a cache line, because a vector that straddles two lines
//! loads at half the rate.

use std::ops::Range;

use super::panels::{Panels, checked_size};
use super::transpose::transpose;
use crate::level::Level;
use crate::memory::AlignedScratch;
use crate::view::MatRef;

/// How the weight matrix W `[N, K]` of a linear layer is packed for one level, without its
/// elements.
///
/// K counts 32-bit elements. For bf16 and int8 it is the number of packed elements of a row
/// ([`crate::quant::Precision::packed_len`]).
#[derive(Clone, Copy, Debug)]
pub struct PackedLayout {
    level: Level,
    n: usize,
    k: usize,
    width: usize,
}

impl PackedLayout {
    /// Returns the layout of W `[n, k]`.
    pub fn new(level: Level, n: usize, k: usize) -> Self {
        Self { level, n, k, width: level.panel_width() }
    }

    /// Returns the number of output features.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Returns the number of elements in a row of W.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Returns the shape of the packed array: panels, K, and columns in a panel.
    pub fn shape(&self) -> [usize; 3] {
        [self.n.div_ceil(self.width), self.k, self.width]
    }

    /// Returns the number of elements of the packed array, padding included.
    ///
    /// # Panics
    /// If the number overflows.
    pub fn elements(&self) -> usize {
        checked_size(self.n.next_multiple_of(self.width), self.k)
    }

    /// Returns the panels of an f32 matrix, to multiply with.
    ///
    /// # Panics
    /// If `packed` does not have [`Self::elements`] elements.
    pub fn panels(self, packed: &[f32]) -> Panels<'_> {
        self.check_length(packed);
        Panels::packed(packed, self.n, self.k, self.width)
    }

    /// Returns the panels of a bf16 or int8 matrix, to multiply with.
    ///
    /// Its packed elements are stored as if they were f32, because packing moves them and computes
    /// nothing.
    ///
    /// # Panics
    /// If `packed` does not have [`Self::elements`] elements.
    pub fn quantized_panels(self, packed: &[f32]) -> Panels<'_, u32> {
        self.check_length(packed);
        Panels::packed(wide::bytemuck::cast_slice(packed), self.n, self.k, self.width)
    }

    /// Returns the panels, to fill. They are disjoint, so several threads may fill them.
    ///
    /// # Panics
    /// If `packed` does not have [`Self::elements`] elements.
    pub fn panels_mut(self, packed: &mut [f32]) -> impl Iterator<Item = PanelMut<'_>> {
        self.check_length(packed);
        packed.chunks_mut((self.k * self.width).max(1)).enumerate().map(move |(i, data)| PanelMut {
            layout: self,
            rows: i * self.width..self.n.min((i + 1) * self.width),
            data,
        })
    }

    fn check_length(&self, packed: &[f32]) {
        assert_eq!(packed.len(), self.elements(), "packed matrix: elements (left), expected by its layout (right)");
    }
}

/// One panel of W, to fill.
pub struct PanelMut<'a> {
    layout: PackedLayout,
    rows: Range<usize>,
    data: &'a mut [f32],
}

impl PanelMut<'_> {
    /// Returns the range of rows of W that the panel contains.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Fills the panel from its rows of W `[rows, K]`.
    ///
    /// # Panics
    /// If `w` has another shape.
    pub fn fill(&mut self, w: MatRef<'_>) {
        let expected = (self.rows.len(), self.layout.k);
        assert_eq!((w.rows(), w.cols()), expected, "panel: shape of its rows (left), expected by the layout (right)");
        transpose(self.layout.level, w, self.data, self.layout.width);
    }
}

/// A packed weight matrix that owns its memory.
pub struct PackedMatrix {
    layout: PackedLayout,
    data: AlignedScratch,
}

impl PackedMatrix {
    /// Packs W `[N, K]`.
    pub fn pack(level: Level, w: MatRef<'_>) -> Self {
        let layout = PackedLayout::new(level, w.rows(), w.cols());
        let mut data = AlignedScratch::default();
        for mut panel in layout.panels_mut(data.slice_mut(layout.elements())) {
            panel.fill(w.rows_in(panel.rows()));
        }
        Self { layout, data }
    }

    /// Returns all panels, to multiply with.
    pub fn panels(&self) -> Panels<'_> {
        self.layout.panels(self.elements())
    }

    /// Returns all panels of packed bf16 or int8 elements.
    pub(super) fn quantized_panels(&self) -> Panels<'_, u32> {
        self.layout.quantized_panels(self.elements())
    }

    fn elements(&self) -> &[f32] {
        self.data.slice(self.layout.elements())
    }
}
