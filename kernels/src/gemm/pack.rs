//! Panels: the order in which the tile reads the right-hand matrix.
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
//! The last panel is filled up with zeros. Panels start at cache lines, because a vector that straddles two lines loads
//! at half the rate.

use crate::level::Level;
use crate::view::MatRef;

/// A weight matrix W `[N, K]` of a linear layer, packed for one level.
pub struct PackedMatrix {
    /// The panels, from `start` on.
    data: Vec<f32>,
    /// The first number at a cache line.
    start: usize,
    n: usize,
    k: usize,
    width: usize,
}

/// A cache line, in bytes and in numbers.
const LINE: usize = 64;
const LINE_NUMBERS: usize = LINE / size_of::<f32>();

impl PackedMatrix {
    /// Packs W `[n, k]`. `fill` writes row i of it, k numbers.
    pub fn pack(level: Level, n: usize, k: usize, fill: impl Fn(usize, &mut [f32])) -> Self {
        let mut packed = Self::zeros(level, n, k);
        let mut rows = vec![0.0; packed.width * k];
        for mut panel in packed.panels_mut() {
            panel.fill(&mut rows, &fill);
        }
        packed
    }

    /// A matrix of zeros, to be packed panel by panel ([`Self::panels_mut`]), for instance by several threads.
    pub fn zeros(level: Level, n: usize, k: usize) -> Self {
        let width = level.panel_width();
        let numbers = product(n.next_multiple_of(width), k);
        // A Vec<f32> may start anywhere; a line more than is needed leaves room to begin at one.
        let data = vec![0.0; numbers + LINE_NUMBERS];
        let start = data.as_ptr().align_offset(LINE);
        Self { data, start, n, k, width }
    }

    /// Its panels, to fill. They are disjoint.
    pub fn panels_mut(&mut self) -> impl Iterator<Item = PanelMut<'_>> {
        let (n, k, width) = (self.n, self.k, self.width);
        let numbers = n.next_multiple_of(width) * k;
        self.data[self.start..][..numbers].chunks_mut((k * width).max(1)).enumerate().map(move |(i, data)| PanelMut {
            rows: i * width..n.min((i + 1) * width),
            data,
            k,
            width,
        })
    }

    /// All panels, to multiply with.
    pub fn panels(&self) -> Panels<'_> {
        Panels {
            data: &self.data[self.start..],
            n: self.n,
            k: self.k,
            width: self.width,
            next: self.k * self.width,
            stride: self.width,
            padding: padding(self.n, self.width),
        }
    }

    /// Output features.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Input features.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }

    /// What [`Self::bytes`] would be for W `[n, k]`, from the sizes alone.
    pub fn bytes_for(level: Level, n: usize, k: usize) -> usize {
        (n.next_multiple_of(level.panel_width()) * k + LINE_NUMBERS) * size_of::<f32>()
    }
}

/// One panel of a [`PackedMatrix`], to fill.
pub struct PanelMut<'a> {
    /// The rows of W that it holds.
    rows: std::ops::Range<usize>,
    data: &'a mut [f32],
    k: usize,
    width: usize,
}

impl PanelMut<'_> {
    /// Fills the panel with the rows of W that `fill` writes. `scratch` is room for `width · k` numbers.
    pub fn fill(&mut self, scratch: &mut [f32], mut fill: impl FnMut(usize, &mut [f32])) {
        let scratch = &mut scratch[..self.width * self.k];
        for (row, i) in scratch.chunks_exact_mut(self.k.max(1)).zip(self.rows.clone()) {
            fill(i, row);
        }
        transpose(scratch, self.k, self.rows.len(), self.width, self.data);
    }

    /// Numbers that [`Self::fill`] needs as scratch.
    pub fn scratch(&self) -> usize {
        self.width * self.k
    }
}

/// Writes `rows` rows of `k` numbers as k rows of `width`, with zeros beyond `rows`.
///
/// In blocks of sixteen k, so that the lines being written stay in the first-level cache until they are full.
fn transpose(from: &[f32], k: usize, rows: usize, width: usize, to: &mut [f32]) {
    for block in (0..k).step_by(16) {
        let end = (block + 16).min(k);
        for row in 0..rows {
            for (at, &x) in from[row * k..][block..end].iter().enumerate() {
                to[(block + at) * width + row] = x;
            }
        }
    }
}

/// A right-hand matrix B `[K, N]`, cut into panels of `width` columns.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    data: &'a [f32],
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
    pub fn copied(level: Level, b: MatRef<'_>, scratch: &'a mut Vec<f32>) -> Self {
        let width = level.panel_width();
        let (k, n) = (b.rows(), b.cols());
        scratch.clear();
        scratch.resize(product(n.next_multiple_of(width), k), 0.0);
        for i in 0..k {
            for (panel, part) in b.row(i).chunks(width).enumerate() {
                scratch[panel * k * width + i * width..][..part.len()].copy_from_slice(part);
            }
        }
        Self { data: scratch, n, k, width, next: k * width, stride: width, padding: padding(n, width) }
    }

    /// Packs the transpose of B' `[N, K]` to `scratch`: columns of the product are rows of B'.
    pub fn transposed(level: Level, b: MatRef<'_>, scratch: &'a mut Vec<f32>) -> Self {
        let width = level.panel_width();
        let (n, k) = (b.rows(), b.cols());
        scratch.clear();
        scratch.resize(product(n.next_multiple_of(width), k), 0.0);
        for i in 0..n {
            let panel = &mut scratch[i / width * width * k..];
            for (at, &x) in b.row(i).iter().enumerate() {
                panel[at * width + i % width] = x;
            }
        }
        Self { data: scratch, n, k, width, next: k * width, stride: width, padding: padding(n, width) }
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
    pub(crate) fn column(&self, n: usize) -> impl Iterator<Item = f32> + use<'a> {
        let first = (n / self.width * self.next + n % self.width).min(self.data.len());
        self.data[first..].iter().step_by(self.stride.max(1)).copied().take(self.k)
    }

    /// Panel i.
    #[inline(always)]
    pub(super) fn panel(&self, i: usize) -> Panel<'a> {
        Panel { data: &self.data[(i * self.next).min(self.data.len())..], stride: self.stride }
    }
}

/// The size of a matrix, which must not wrap around.
fn product(n: usize, k: usize) -> usize {
    n.checked_mul(k).unwrap_or_else(|| panic!("a matrix of {n} by {k} is more than memory holds"))
}

/// Columns that fill up the last panel of `n`.
fn padding(n: usize, width: usize) -> usize {
    n.next_multiple_of(width) - n
}

/// One panel, to multiply with: K rows of `width` numbers, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub data: &'a [f32],
    pub stride: usize,
}
