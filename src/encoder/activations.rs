//! The input of a linear layer: activations in f32, and quantized.

use std::ops::Range;

use likewise_kernels::Level;
use likewise_kernels::quant::{Precision, quantize};
use likewise_kernels::view::{MatMut, MatRef};

use crate::parallel::{StepReader, TeamBuffers, TeamMatrix, TeamMember};

/// Rows of f32 `[T, K]`, and the same rows quantized if the precision is bf16 or int8.
///
/// Both, because a norm's output has two readers: the next linear layer reads it quantized, and the
/// residual connection reads it in f32.
pub(crate) struct Activations {
    precision: Precision,
    pub(crate) values: TeamMatrix,
    /// 32-bit words `[T, packed_row_len(K)]`. In f32 there are none.
    quantized: Option<TeamMatrix<u32>>,
}

impl Activations {
    /// Makes a matrix of `cols` columns without rows.
    pub(crate) fn new(precision: Precision, cols: usize) -> Self {
        let quantized = (precision != Precision::F32).then(|| TeamMatrix::new(precision.packed_row_len(cols)));
        Self { precision, values: TeamMatrix::new(cols), quantized }
    }

    /// Sets the number of rows.
    pub(crate) fn resize(&mut self, tokens: usize) {
        self.values.resize(tokens);
        if let Some(quantized) = &mut self.quantized {
            quantized.resize(tokens);
        }
    }

    /// Returns the bytes of a row in f32, and quantized.
    pub(crate) fn row_bytes(&self) -> [usize; 2] {
        [self.values.row_bytes(), self.quantized.as_ref().map_or(0, TeamMatrix::row_bytes)]
    }

    /// Returns the quantized rows, to multiply with.
    ///
    /// # Panics
    /// In f32.
    pub(crate) fn quantized<'a>(&'a self, reader: &'a StepReader) -> MatRef<'a, u32> {
        match &self.quantized {
            Some(quantized) => reader.read(quantized),
            None => unreachable!("f32 is not quantized"),
        }
    }

    /// Returns the quantized rows in bf16, whose elements can be rounded one by one. (int8 needs a
    /// whole row for its scale.)
    pub(crate) fn bf16(&self) -> Option<&TeamMatrix<u32>> {
        self.quantized.as_ref().filter(|_| self.precision == Precision::Bf16)
    }

    /// Runs a step: quantizes the rows that an earlier step has filled. In f32 there is nothing to
    /// do.
    pub(crate) fn quantize(&self, member: &mut TeamMember<'_>, level: Level) {
        if let Some(quantized) = &self.quantized {
            member.fill_rows(quantized, |rows, view, reader| {
                quantize(level, self.precision, reader.read(&self.values).rows_in(rows), view);
            });
        }
    }

    /// Runs steps: copies some rows of other activations, in f32 and quantized.
    pub(crate) fn gather(&self, member: &mut TeamMember<'_>, from: &Self, rows: &[usize]) {
        gather(member, &from.values, rows, &self.values);
        if let (Some(from), Some(to)) = (&from.quantized, &self.quantized) {
            gather(member, from, rows, to);
        }
    }

    /// Runs a step: fills rows, and quantizes them while they are in the cache. `fill` gets rows
    /// and their view.
    pub(crate) fn fill_rows(
        &self,
        member: &mut TeamMember<'_>,
        level: Level,
        mut fill: impl FnMut(Range<usize>, MatMut<'_>, &StepReader),
    ) {
        let Some(quantized) = &self.quantized else {
            return member.fill_rows(&self.values, fill);
        };
        // So few that they are still in the first-level cache when they are quantized.
        const ROWS_PER_BLOCK: usize = 4;
        member.fill_rows_of_two(&self.values, quantized, |rows, mut values, mut quantized, reader| {
            for first in (0..rows.len()).step_by(ROWS_PER_BLOCK) {
                let block = first..(first + ROWS_PER_BLOCK).min(rows.len());
                fill(rows.start + block.start..rows.start + block.end, values.rows_in(block.clone()), reader);
                for i in block {
                    let row = MatRef::new(values.row(i), 1, values.cols());
                    quantize(level, self.precision, row, quantized.rows_in(i..i + 1));
                }
            }
        });
    }
}

/// Runs a step: copies some rows of a matrix.
fn gather<T: Copy>(member: &mut TeamMember<'_>, from: &TeamMatrix<T>, rows: &[usize], to: &TeamMatrix<T>) {
    member.fill_rows(to, |range, mut view, reader| {
        let from = reader.read(from);
        for (i, &row) in rows[range].iter().enumerate() {
            view.row_mut(i).copy_from_slice(from.row(row));
        }
    });
}

impl TeamBuffers for Activations {
    fn bind(&mut self, team: u64) {
        self.values.bind(team);
        if let Some(quantized) = &mut self.quantized {
            quantized.bind(team);
        }
    }
}
