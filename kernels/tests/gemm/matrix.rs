//! Matrices of the tests.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, PackedMatrix, Panels, gemm};
use likewise_kernels::view::{MatMut, MatRef};

/// A matrix, row by row without gaps.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) data: Vec<f32>,
}

impl Matrix {
    pub(crate) fn new(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * cols, "a matrix of {rows} x {cols}");
        Self { rows, cols, data }
    }

    pub(crate) fn view(&self) -> MatRef<'_> {
        MatRef::new(&self.data, self.rows, self.cols)
    }

    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.cols..][..self.cols]
    }

    pub(crate) fn transposed(&self) -> Self {
        let data = (0..self.cols).flat_map(|j| (0..self.rows).map(move |i| self.data[i * self.cols + j])).collect();
        Self::new(self.cols, self.rows, data)
    }

    /// Copies the columns `range`.
    pub(crate) fn columns(&self, range: std::ops::Range<usize>) -> Self {
        let data = (0..self.rows).flat_map(|i| self.row(i)[range.clone()].to_vec()).collect();
        Self::new(self.rows, range.len(), data)
    }
}

/// Packs weights [N, K].
pub(crate) fn pack(level: Level, w: &Matrix) -> PackedMatrix {
    PackedMatrix::pack(level, w.view())
}

/// Returns the product as a new matrix, whose elements were all NaN before.
pub(crate) fn product(
    level: Level,
    a: MatRef<'_>,
    b: Panels<'_>,
    bias: Option<&[f32]>,
    epilogue: Epilogue<'_>,
) -> Matrix {
    let m = a.rows();
    let n = b.n();
    let mut out = vec![f32::NAN; m * n];
    gemm(level, a, b, bias, epilogue, MatMut::new(&mut out, m, n));
    Matrix::new(m, n, out)
}

/// The guard value: a NaN that no computation produces, so a test detects reading one and writing
/// one.
pub(crate) const GUARD: u32 = 0x7fc0_dead;

/// A matrix surrounded by guards: one row above and below, three columns to the left, five to the
/// right.
pub(crate) struct Guarded {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

impl Guarded {
    const LEFT: usize = 3;
    const GAP: usize = 8;

    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        Self { data: vec![f32::from_bits(GUARD); (rows + 2) * (cols + Self::GAP)], rows, cols }
    }

    pub(crate) fn from_matrix(x: &Matrix) -> Self {
        let mut guarded = Self::new(x.rows, x.cols);
        for i in 0..x.rows {
            guarded.view_mut().row_mut(i).copy_from_slice(x.row(i));
        }
        guarded
    }

    fn stride(&self) -> usize {
        self.cols + Self::GAP
    }

    pub(crate) fn view(&self) -> MatRef<'_> {
        MatRef::with_stride(&self.data[self.stride() + Self::LEFT..], self.rows, self.cols, self.stride())
    }

    pub(crate) fn view_mut(&mut self) -> MatMut<'_> {
        let rows = self.rows;
        let cols = self.cols;
        let stride = self.stride();
        MatMut::with_stride(&mut self.data[stride + Self::LEFT..], rows, cols, stride)
    }

    /// Returns the matrix without its guards, and how many guards have changed.
    pub(crate) fn split_guards(&self) -> (Matrix, usize) {
        let inside = |at: usize| {
            let row = at / self.stride();
            let col = at % self.stride();
            (1..=self.rows).contains(&row) && (Self::LEFT..Self::LEFT + self.cols).contains(&col)
        };
        let mut data = Vec::new();
        let mut changed = 0;
        for (at, &x) in self.data.iter().enumerate() {
            if inside(at) {
                data.push(x);
            } else {
                changed += usize::from(x.to_bits() != GUARD);
            }
        }
        (Matrix::new(self.rows, self.cols, data), changed)
    }
}
