//! Token ids to vectors.

use likewise_kernels::Level;
use likewise_kernels::vector::add;
use likewise_kernels::view::MatRef;

use crate::batch::Batch;
use crate::checkpoint::{Checkpoint, Tensor};
use crate::encoder::activations::Activations;
use crate::encoder::families::{Blueprint, PositionTable};
use crate::encoder::norm::LayerNorm;
use crate::error::{Error, Result};
use crate::parallel::TeamMember;

/// LayerNorm(word [+ segment] [+ position]).
///
/// The tables stay where they are in the file: a row is widened to f32 when a token needs it. Of XLM-RoBERTa's 768 MB of
/// word embeddings a short text touches a few kilobytes.
pub(crate) struct Embeddings {
    level: Level,
    words: Tensor,
    positions: Positions,
    /// Row 0 of the table of segments: the only one that single sentences use.
    segment: Option<Vec<f32>>,
    norm: LayerNorm,
    width: usize,
}

/// The table of positions.
enum Positions {
    InFile(Tensor),
    /// Sines and cosines `[P, D]`.
    Computed(Vec<f32>),
    None,
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
            positions: Positions::load(checkpoint, blueprint)?,
            segment: blueprint.segments.map(segment).transpose()?,
            norm: LayerNorm::load(checkpoint, level, names.embedding_norm, width, blueprint.epsilon)?,
            width,
        })
    }

    /// A step: x `[T, D]` from the batch's ids and positions.
    pub(crate) fn forward(&self, member: &mut TeamMember<'_>, batch: &Batch, x: &Activations) {
        let [mut word, mut position, mut sum] = [(); 3].map(|()| vec![0.0; self.width]);
        x.fill_rows(member, self.level, |rows, mut view, _| {
            for (i, token) in rows.enumerate() {
                self.words.row(batch.ids()[token] as usize, &mut word);
                let position = self.positions.row(batch.positions()[token], &mut position);
                // In the reference's order: the segment, where there is one, before the position.
                match (&self.segment, position) {
                    (Some(segment), position) => add(self.level, &word, segment, position, &mut sum),
                    (None, Some(position)) => add(self.level, &word, position, None, &mut sum),
                    (None, None) => sum.copy_from_slice(&word),
                }
                self.norm.apply(MatRef::new(&sum, 1, self.width), view.rows_in(i..i + 1));
            }
        });
    }

    /// The first number that is not finite among the rows that a text reads, if that is why its vector is not.
    pub(crate) fn find_bad_row(&self, batch: &Batch) -> Option<Error> {
        let mut row = vec![0.0; self.width];
        let words = batch.ids().iter().map(|&id| (&self.words, id as usize));
        let positions = self.positions.in_file().into_iter();
        let positions = positions.flat_map(|table| batch.positions().iter().map(move |&position| (table, position)));
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
        self.words.bytes() + self.positions.in_file().map_or(0, Tensor::bytes)
    }

    /// The type of the numbers of the word embeddings, in the file.
    pub(crate) fn dtype(&self) -> &'static str {
        self.words.dtype()
    }
}

impl Positions {
    fn load(checkpoint: &Checkpoint, blueprint: &Blueprint) -> Result<Self> {
        let (name, rows, width) = (blueprint.names.positions, blueprint.position_rows, blueprint.width);
        let in_file = || checkpoint.tensor(name, &[rows, width]);
        Ok(match blueprint.position_table {
            PositionTable::Sinusoidal if !checkpoint.has(name) => Self::Computed(sinusoids(rows, width)),
            PositionTable::Learned | PositionTable::Sinusoidal => Self::InFile(in_file()?),
            PositionTable::None => {
                // Such models have a table that nobody reads. It is asked for, so that it is not a tensor without a meaning.
                if checkpoint.has(name) {
                    in_file()?;
                }
                Self::None
            }
        })
    }

    fn in_file(&self) -> Option<&Tensor> {
        match self {
            Self::InFile(table) => Some(table),
            Self::Computed(_) | Self::None => None,
        }
    }

    /// Row i, if there are rows. `memory` is room for one.
    fn row<'a>(&'a self, i: usize, memory: &'a mut [f32]) -> Option<&'a [f32]> {
        match self {
            Self::InFile(table) => {
                table.row(i, memory);
                Some(memory)
            }
            Self::Computed(table) => Some(&table[i * memory.len()..][..memory.len()]),
            Self::None => None,
        }
    }
}

/// Row p: sin(p / 10000^(2k/D)) at 2k and the cosine of the same at 2k + 1, computed in f64 as the reference does
/// (transformers 5.23.0, `models/distilbert/modeling_distilbert.py`, `create_sinusoidal_embeddings`).
fn sinusoids(rows: usize, width: usize) -> Vec<f32> {
    let mut table = Vec::with_capacity(rows * width);
    for p in 0..rows {
        for j in 0..width {
            let angle = p as f64 / 10_000.0_f64.powf((2 * (j / 2)) as f64 / width as f64);
            table.push(if j % 2 == 0 { angle.sin() } else { angle.cos() } as f32);
        }
    }
    table
}
