//! Token ids to vectors.

use likewise_kernels::Level;
use likewise_kernels::vector::add;
use likewise_kernels::view::MatRef;

use crate::batch::Batch;
use crate::checkpoint::{Checkpoint, Tensor};
use crate::error::{Error, Result};
use crate::layers::layer_norm::LayerNorm;
use crate::layers::operand::Operand;
use crate::models::Blueprint;
use crate::parallel::Member;

/// LayerNorm(word + position [+ segment]).
///
/// The tables stay where they are in the file: a row is widened to f32 when a token needs it. Of XLM-RoBERTa's 768 MB of
/// word embeddings a short text touches a few kilobytes.
pub(crate) struct Embeddings {
    level: Level,
    words: Tensor,
    positions: Tensor,
    /// Row 0 of the table of segments: the only one that single sentences use.
    segment: Option<Vec<f32>>,
    norm: LayerNorm,
    width: usize,
}

impl Embeddings {
    pub(crate) fn load(checkpoint: &Checkpoint, level: Level, blueprint: &Blueprint) -> Result<Self> {
        let (names, width) = (&blueprint.names, blueprint.width);
        let segment = |rows| -> Result<Vec<f32>> {
            let table = checkpoint.tensor(names.segments, &[rows, width])?.to_vec()?;
            Ok(table[..width].to_vec())
        };
        Ok(Self {
            level,
            words: checkpoint.tensor(names.words, &[blueprint.vocabulary, width])?,
            positions: checkpoint.tensor(names.positions, &[blueprint.position_rows, width])?,
            segment: blueprint.segments.map(segment).transpose()?,
            norm: LayerNorm::load(checkpoint, level, names.embedding_norm, width, blueprint.epsilon)?,
            width,
        })
    }

    /// A step: x `[T, D]` from the batch's ids and positions.
    pub(crate) fn forward(&self, member: &mut Member<'_>, batch: &Batch, x: &Operand) {
        x.fill_rows(member, self.level, |rows, mut view, _| {
            let mut word = vec![0.0; self.width];
            let mut position = vec![0.0; self.width];
            let mut sum = vec![0.0; self.width];
            for (i, token) in rows.enumerate() {
                self.words.row(batch.ids()[token] as usize, &mut word);
                self.positions.row(batch.positions()[token], &mut position);
                // In the reference's order: the segment, where there is one, before the position.
                match &self.segment {
                    Some(segment) => add(self.level, &word, segment, Some(&position), &mut sum),
                    None => add(self.level, &word, &position, None, &mut sum),
                }
                self.norm.apply(MatRef::new(&sum, 1, self.width), view.rows_in(i..i + 1));
            }
        });
    }

    /// The first number that is not finite among the rows that a text reads, if that is why its vector is not.
    pub(crate) fn find_bad_row(&self, batch: &Batch) -> Option<Error> {
        let mut row = vec![0.0; self.width];
        let words = batch.ids().iter().map(|&id| (&self.words, id as usize));
        let positions = batch.positions().iter().map(|&position| (&self.positions, position));
        for (table, i) in words.chain(positions) {
            table.row(i, &mut row);
            if let Some(&value) = row.iter().find(|x| !x.is_finite()) {
                return Some(table.not_finite(i, value));
            }
        }
        None
    }

    /// Bytes of the tables in the file.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.words.bytes() + self.positions.bytes()
    }

    /// The type of the numbers of the word embeddings, in the file.
    pub(crate) fn dtype(&self) -> &'static str {
        self.words.dtype()
    }
}
