//! What a linear layer reads.

use likewise_kernels::Level;
use likewise_kernels::quant::{Precision, quantize};
use likewise_kernels::view::{MatMut, MatRef};

use crate::parallel::{StepReader, TeamBuffers, TeamMatrix, TeamMember};

/// Rows of f32 `[T, K]`, and the same rows as words where the precision has words.
///
/// Both, because a layer norm's output goes two ways: to the next linear layer, which reads words, and past it to the residual
/// connection, which stays in f32.
pub(crate) struct Activations {
    precision: Precision,
    /// As f32.
    pub(crate) numbers: TeamMatrix,
    /// As words `[T, row_words(K)]`. In f32 there are none.
    words: Option<TeamMatrix<u32>>,
}

impl Activations {
    /// Of no rows yet.
    pub(crate) fn new(precision: Precision, cols: usize) -> Self {
        let words = (precision != Precision::F32).then(|| TeamMatrix::new(precision.row_words(cols)));
        Self { precision, numbers: TeamMatrix::new(cols), words }
    }

    /// Makes room for T tokens.
    pub(crate) fn resize(&mut self, tokens: usize) {
        self.numbers.resize(tokens);
        if let Some(words) = &mut self.words {
            words.resize(tokens);
        }
    }

    /// The words, to multiply with.
    ///
    /// # Panics
    /// In f32.
    pub(crate) fn words<'a>(&'a self, reader: &'a StepReader) -> MatRef<'a, u32> {
        match &self.words {
            Some(words) => reader.read(words),
            None => unreachable!("f32 has no words"),
        }
    }

    /// The words, if each of them is rounded by itself: bf16. (Those of int8 have a step for a whole row.)
    pub(crate) fn rounded(&self) -> Option<&TeamMatrix<u32>> {
        self.words.as_ref().filter(|_| self.precision == Precision::Bf16)
    }

    /// A step: the words, from the numbers that an earlier step has filled. In f32 there is nothing to do.
    pub(crate) fn quantize(&self, member: &mut TeamMember<'_>, level: Level) {
        if let Some(words) = &self.words {
            member.fill_rows(words, |rows, view, reader| {
                quantize(level, self.precision, reader.read(&self.numbers).rows_in(rows), view);
            });
        }
    }

    /// A step: numbers and words, row block by row block while they are in the cache. `fill` gets rows and their view.
    pub(crate) fn fill_rows(
        &self,
        member: &mut TeamMember<'_>,
        level: Level,
        mut fill: impl FnMut(std::ops::Range<usize>, MatMut<'_>, &StepReader),
    ) {
        let Some(words) = &self.words else {
            return member.fill_rows(&self.numbers, fill);
        };
        // A few rows, which stay in the first-level cache from the one loop to the other.
        const BLOCK: usize = 4;
        member.fill_rows_of_two(&self.numbers, words, |rows, mut numbers, mut words, reader| {
            for first in (0..rows.len()).step_by(BLOCK) {
                let block = first..(first + BLOCK).min(rows.len());
                fill(rows.start + block.start..rows.start + block.end, numbers.rows_in(block.clone()), reader);
                for i in block {
                    let row = MatRef::new(numbers.row(i), 1, numbers.cols());
                    quantize(level, self.precision, row, words.rows_in(i..i + 1));
                }
            }
        });
    }
}

impl TeamBuffers for Activations {
    fn join(&mut self, team: u64) {
        self.numbers.join(team);
        if let Some(words) = &mut self.words {
            words.join(team);
        }
    }
}
