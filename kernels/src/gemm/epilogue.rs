//! The epilogue: what is applied to a tile of sums while the tile is in the first-level cache.

use std::ops::Range;

use crate::activation::Activation;
use crate::math::{activate_lanes, gelu_quantized};
use crate::simd::{LANES, Simd};
use crate::view::{MatMut, MatRef};

/// The operation on the sums in the same pass over the output.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Epilogue<'a> {
    /// Leaves the sums unchanged.
    Store,
    /// Applies an activation to each element.
    Activate(Activation),
    /// Adds a matrix of the shape of `out`: the residual connection.
    Add(MatRef<'a>),
}

impl Epilogue<'_> {
    /// Prefetches what [`Self::apply`] will read for some rows and columns, before the tile is
    /// computed.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd>(self, s: S, rows: Range<usize>, columns: Range<usize>) {
        if let Epilogue::Add(residual) = self {
            for row in rows {
                for part in residual.row(row)[columns.clone()].chunks(LANES) {
                    s.prefetch(part.as_ptr());
                }
            }
        }
    }

    /// Applies itself to a tile of sums that was just stored. `(row, column)` is the offset of the
    /// tile in the output.
    ///
    /// `APPROXIMATE_GELU` selects the GELU for results of a quantized product (see `math`).
    #[inline(always)]
    pub(super) fn apply<S: Simd, const APPROXIMATE_GELU: bool>(
        self,
        s: S,
        tile: &mut MatMut<'_>,
        (row, column): (usize, usize),
    ) {
        match self {
            Epilogue::Store => {}
            Epilogue::Activate(Activation::Gelu) if APPROXIMATE_GELU => gelu_quantized(s, tile),
            Epilogue::Activate(activation) => activate_lanes(s, activation, tile),
            Epilogue::Add(residual) => {
                for i in 0..tile.rows() {
                    let residual = &residual.row(row + i)[column..column + tile.cols()];
                    for (sum, residual) in tile.row_mut(i).chunks_mut(LANES).zip(residual.chunks(LANES)) {
                        let total = s.add(s.load_partial(sum, 0.0), s.load_partial(residual, 0.0));
                        s.store_partial(sum, total);
                    }
                }
            }
        }
    }

    /// Returns the result for the sum at row m and column n, in the reference form.
    pub(super) fn reference(self, sum: f64, (m, n): (usize, usize)) -> f32 {
        (match self {
            Epilogue::Store => sum,
            Epilogue::Activate(f) => crate::reference::activation(f, sum),
            Epilogue::Add(residual) => sum + f64::from(residual.row(m)[n]),
        }) as f32
    }
}
