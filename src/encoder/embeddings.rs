//! Embeddings: token ids to the input of the first layer.
//!
//! ```text
//! x[t] = projection(norm(tokens[id[t]] + types[type[t]] + positions[position[t]]))
//! ```
//!
//! The tables are `[V, C]`, `[types, C]` and `[P, C]`, and x is `[T, D]`. (Devlin et al. 2018,
//! <https://arxiv.org/abs/1810.04805>, §3.) Some models have no types, positions or norm. Only
//! tables that are narrower than D have a projection (Lan et al. 2019,
//! <https://arxiv.org/abs/1909.11942>, §3.1).

use likewise_kernels::Level;
use likewise_kernels::elementwise::add;
use likewise_kernels::view::MatRef;

use crate::batch::Batch;
use crate::checkpoint::Tensor;
use crate::encoder::activations::Activations;
use crate::encoder::linear::{Linear, LinearEpilogue};
use crate::encoder::loader::WeightLoader;
use crate::encoder::norm::Norm;
use crate::encoder::pass::PassContext;
use crate::encoder::spec::{EmbeddingsSpec, PositionTableSpec};
use crate::error::{Error, Result};
use crate::trace::{Observer, Site};

/// The tables, and what is applied to the sum of their rows.
///
/// The tables are used in place in the file: a row is widened to f32 when a token needs it. A short
/// text reads a few kilobytes of the 768 MB of XLM-RoBERTa's token embeddings.
pub(crate) struct Embeddings {
    level: Level,
    /// `[V, width]`.
    tokens: Tensor,
    positions: PositionTable,
    /// The table of token types `[types, width]`. Single texts use row 0 only.
    token_types: Option<Vec<f32>>,
    norm: Option<Norm>,
    /// From the width of the tables to D.
    projection: Option<Linear>,
    width: usize,
}

/// The table of position embeddings.
enum PositionTable {
    /// `[P, width]`.
    InFile(Tensor),
    /// Sines and cosines `[P, width]`.
    Computed(Vec<f32>),
    None,
}

impl Embeddings {
    pub(crate) fn load(loader: &mut WeightLoader<'_>, spec: &EmbeddingsSpec) -> Result<Self> {
        let width = spec.width;
        Ok(Self {
            level: loader.compute().level,
            tokens: loader.table(&spec.tokens, width)?,
            positions: PositionTable::load(loader, &spec.positions, width)?,
            token_types: match &spec.token_types {
                Some(table) => Some(loader.tensors().tensor(&table.name, &[table.rows, width])?.to_f32_vec()?),
                None => None,
            },
            norm: spec.norm.as_ref().map(|norm| loader.norm(norm, width)).transpose()?,
            projection: spec.projection.as_ref().map(|projection| loader.linear(projection)).transpose()?,
            width,
        })
    }

    /// Runs the steps: computes out `[T, D]` from the batch's ids and positions.
    pub(crate) fn forward<O: Observer>(&self, cx: &mut PassContext<'_, '_, O>, out: &Activations) {
        if O::ENABLED {
            self.record_rows(cx.batch, cx.observer);
        }
        let Some(projection) = &self.projection else { return self.look_up(cx, out) };
        let embedded = cx.work.embedded();
        self.look_up(cx, embedded);
        cx.observer.record_matrix(cx.member, Site::EmbeddingNorm, &embedded.values);
        projection.forward(cx, embedded, LinearEpilogue::Store, &out.values);
        out.quantize(cx.member, self.level);
    }

    /// Runs a step: computes out `[T, width]`, before the projection.
    fn look_up<O>(&self, cx: &mut PassContext<'_, '_, O>, out: &Activations) {
        let batch = cx.batch;
        let [mut token, mut position, mut sum] = [(); 3].map(|()| vec![0.0; self.width]);
        out.fill_rows(cx.member, self.level, |rows, mut view, _| {
            for (i, t) in rows.enumerate() {
                self.tokens.row(batch.ids()[t] as usize, &mut token);
                let position = self.positions.row(batch.positions()[t], &mut position);
                self.add(&token, self.token_type(batch.token_type(t)), position, &mut sum);
                match &self.norm {
                    Some(norm) => norm.apply(MatRef::new(&sum, 1, self.width), view.rows_in(i..i + 1)),
                    None => view.row_mut(i).copy_from_slice(&sum),
                }
            }
        });
    }

    /// Computes the sum of a token's rows `[width]`, in the order of transformers: the token type,
    /// if there is one, before the position.
    fn add(&self, token: &[f32], token_type: Option<&[f32]>, position: Option<&[f32]>, sum: &mut [f32]) {
        match (token_type, position) {
            (Some(token_type), position) => add(self.level, token, token_type, position, sum),
            (None, Some(position)) => add(self.level, token, position, None, sum),
            (None, None) => sum.copy_from_slice(token),
        }
    }

    /// Records the rows of the tables that a batch reads, and their sums.
    fn record_rows(&self, batch: &Batch, observer: &mut impl Observer) {
        let [mut token, mut position, mut sum] = [(); 3].map(|()| vec![0.0; self.width]);
        let mut record = |site, row: &[f32]| observer.record(site, MatRef::new(row, 1, self.width));
        for (t, &id) in batch.ids().iter().enumerate() {
            self.tokens.row(id as usize, &mut token);
            let position = self.positions.row(batch.positions()[t], &mut position);
            let token_type = self.token_type(batch.token_type(t));
            self.add(&token, token_type, position, &mut sum);
            record(Site::TokenEmbeddings, &token);
            if let Some(token_type) = token_type {
                record(Site::TokenTypeEmbeddings, token_type);
            }
            if let Some(position) = position {
                record(Site::PositionEmbeddings, position);
            }
            record(Site::EmbeddingSum, &sum);
        }
    }

    /// Returns the vector of a token type `[width]`, if the model has types.
    fn token_type(&self, token_type: usize) -> Option<&[f32]> {
        self.token_types.as_ref().map(|table| &table[token_type * self.width..][..self.width])
    }

    /// Returns the error for the first element that is not finite among the rows that a batch
    /// reads, if there is one.
    pub(crate) fn find_bad_row(&self, batch: &Batch) -> Option<Error> {
        let mut row = vec![0.0; self.width];
        let tokens = batch.ids().iter().map(|&id| (&self.tokens, id as usize));
        let positions = self.positions.in_file().into_iter();
        let positions = positions.flat_map(|table| batch.positions().iter().map(move |&position| (table, position)));
        for (table, i) in tokens.chain(positions) {
            table.row(i, &mut row);
            if let Some(&value) = row.iter().find(|x| !x.is_finite()) {
                return Some(table.not_finite(i, value));
            }
        }
        None
    }

    /// Returns the linear layer, if there is one.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.projection.iter()
    }

    /// Returns the element type of the token embeddings in the file.
    pub(crate) fn dtype(&self) -> &'static str {
        self.tokens.dtype()
    }
}

impl PositionTable {
    fn load(loader: &mut WeightLoader<'_>, spec: &PositionTableSpec, width: usize) -> Result<Self> {
        Ok(match spec {
            PositionTableSpec::Sinusoidal(table) if !loader.tensors().contains(&table.name) => {
                Self::Computed(sinusoids(table.rows, width))
            }
            PositionTableSpec::Learned(table) | PositionTableSpec::Sinusoidal(table) => {
                Self::InFile(loader.table(table, width)?)
            }
            PositionTableSpec::None => Self::None,
            PositionTableSpec::Unused(table) => {
                // Request it, so that it is not rejected as an unknown tensor.
                if loader.tensors().contains(&table.name) {
                    loader.tensors().tensor(&table.name, &[table.rows, width])?;
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

    /// Returns row i `[D]`, if there is a table. `memory` has space for one row.
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

/// Computes a table `[P, D]` of width D in f64. Row p is sin(p / 10000^(2k/D)) at 2k and the cosine
/// of the same at 2k + 1 (as in transformers 5.23.0, `models/distilbert/modeling_distilbert.py`,
/// `create_sinusoidal_embeddings`).
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
