//! Relative positions: attention that depends on the distance of two tokens.
//!
//! A term is added to the score of query i and key j in head h:
//!
//! ```text
//! bias[h][bucket(j − i)]     a table [buckets, H]; T5 and MPNet (Raffel et al. 2019, §2.1)
//! −slope[h] · |j − i|        slopes [H]; ALiBi (Press et al. 2021)
//! q[i] · R[i − j]            R [2·P − 1, d]; relative keys (Shaw et al. 2018)
//! ```
//!
//! <https://arxiv.org/abs/1910.10683>, <https://arxiv.org/abs/2108.12409>,
//! <https://arxiv.org/abs/1803.02155>.

use std::ops::Range;
use std::sync::Arc;

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, PackedLayout, PackedMatrix, gemm};
use likewise_kernels::view::{MatMut, MatRef};

use crate::checkpoint::TensorReader;
use crate::encoder::grown_table::GrownTable;
use crate::encoder::spec::{AttentionSpec, DistanceBuckets, EncoderSpec, RelativeBiasSpec, RelativeKeysSpec};
use crate::error::Result;

/// A bias of the scores that depends on the head and on j − i alone, as all layers add it.
pub(crate) struct RelativePositionBias {
    heads: usize,
    values: BiasValues,
    table: GrownTable<DiagonalBias>,
}

enum BiasValues {
    /// `[buckets, H]`.
    Buckets { table: Vec<f32>, buckets: DistanceBuckets },
    /// `[H]`.
    Slopes(Vec<f32>),
}

/// Per head, the bias for j − i from −(M − 1) to M − 1, where M is the most tokens of a text so
/// far. Row i of the scores reads the slice that starts at M − 1 − i.
///
/// Such a matrix, constant along its diagonals, is called Toeplitz.
pub(crate) struct DiagonalBias {
    /// `[H, 2·M − 1]`.
    values: Vec<f32>,
    max_tokens: usize,
}

impl RelativePositionBias {
    /// Loads the bias, if the model has one.
    pub(crate) fn load(tensors: &mut TensorReader<'_>, spec: &EncoderSpec) -> Result<Option<Self>> {
        let Some(bias) = &spec.relative_bias else { return Ok(None) };
        let heads = spec.heads();
        let values = match bias {
            RelativeBiasSpec::Buckets { table, buckets } => {
                let table = tensors.tensor(&table.name, &[table.rows, heads])?.to_f32_vec()?;
                BiasValues::Buckets { table, buckets: *buckets }
            }
            RelativeBiasSpec::Slopes(slopes) => BiasValues::Slopes(slopes.clone()),
        };
        Ok(Some(Self { heads, values, table: GrownTable::new(spec.max_tokens) }))
    }

    /// Returns the bias for texts of so many tokens.
    pub(crate) fn for_tokens(&self, tokens: usize) -> Arc<DiagonalBias> {
        self.table.get(tokens, |max_tokens| {
            let reach = max_tokens as isize - 1;
            let mut values = Vec::with_capacity(self.heads * (2 * max_tokens - 1));
            for head in 0..self.heads {
                values.extend((-reach..=reach).map(|distance| self.values.of(head, self.heads, distance)));
            }
            DiagonalBias { values, max_tokens }
        })
    }

    /// Returns the bytes of the bias for texts of so many tokens.
    pub(crate) fn bytes(spec: &EncoderSpec, tokens: usize) -> usize {
        let max_tokens = GrownTable::<DiagonalBias>::length(tokens, spec.max_tokens);
        let elements = spec.heads() * (2 * max_tokens - 1);
        if spec.relative_bias.is_some() { elements * size_of::<f32>() } else { 0 }
    }
}

impl BiasValues {
    /// Returns the bias of a head for a key that is `distance` = j − i tokens after the query.
    fn of(&self, head: usize, heads: usize, distance: isize) -> f32 {
        match self {
            Self::Buckets { table, buckets } => table[buckets.bucket(distance) * heads + head],
            Self::Slopes(slopes) => -slopes[head] * distance.unsigned_abs() as f32,
        }
    }
}

impl DiagonalBias {
    /// Returns the values `[2·M − 1]` of one head, and the index of the value for j − i = 0.
    pub(crate) fn head(&self, head: usize) -> (&[f32], usize) {
        let width = 2 * self.max_tokens - 1;
        (&self.values[head * width..][..width], self.max_tokens - 1)
    }
}

/// Relative key embeddings: the score of query i and key j gains q_i · R[i − j], and in some models
/// k_j · R[i − j].
///
/// They are packed in reverse, R[P − 1] first. Then the products of one query with the vectors for
/// its keys are adjacent, in the order of the keys, and one matrix product computes them for a
/// block of queries: row i of the scores reads the products that start at P − 1 − i.
pub(crate) struct RelativeKeyEmbeddings {
    level: Level,
    /// `[2·P − 1, d]`, reversed.
    reversed: PackedMatrix,
    /// P, the rows of the position table that these embeddings replace.
    positions: usize,
    head_size: usize,
    multiply_keys: bool,
}

impl RelativeKeyEmbeddings {
    pub(crate) fn load(
        tensors: &mut TensorReader<'_>,
        level: Level,
        spec: &RelativeKeysSpec,
        head_size: usize,
    ) -> Result<Self> {
        let rows = spec.table.rows;
        let forward = tensors.tensor(&spec.table.name, &[rows, head_size])?.to_f32_vec()?;
        let reversed: Vec<f32> = forward.chunks_exact(head_size).rev().flatten().copied().collect();
        let reversed = PackedMatrix::pack(level, MatRef::new(&reversed, rows, head_size));
        Ok(Self { level, reversed, positions: rows.div_ceil(2), head_size, multiply_keys: spec.multiply_keys })
    }

    /// Returns the bytes in memory.
    pub(crate) fn bytes(level: Level, attention: &AttentionSpec) -> usize {
        let elements =
            |keys: &RelativeKeysSpec| PackedLayout::new(level, keys.table.rows, attention.head_size).elements();
        attention.relative_keys.as_ref().map_or(0, elements) * size_of::<f32>()
    }

    /// Prepares one head of one text of so many queries, whose keys are k `[attended, d]`.
    pub(crate) fn for_keys<'a>(
        &'a self,
        k: MatRef<'_>,
        queries: usize,
        memory: &'a mut Vec<f32>,
    ) -> RelativeScores<'a> {
        let tokens = k.rows();
        let key_products = self.multiply_keys.then(|| {
            let window = self.window(0..queries, tokens);
            memory.resize(tokens * window.len(), 0.0);
            self.multiply(k, &window, memory);
            (window, memory.as_slice())
        });
        RelativeScores { embeddings: self, tokens, key_products }
    }

    /// Returns the range of reversed vectors that a range of queries and all keys need, starting at
    /// a panel.
    fn window(&self, queries: Range<usize>, tokens: usize) -> Range<usize> {
        let first = self.positions - queries.end;
        let end = self.positions - 1 - queries.start + tokens;
        first / self.level.panel_width() * self.level.panel_width()..end
    }

    /// Multiplies x with the vectors of a window: `[rows, d]` · `[d, window]`, to `[rows, window]`.
    fn multiply(&self, x: MatRef<'_>, window: &Range<usize>, out: &mut [f32]) {
        assert_eq!(x.cols(), self.head_size, "vectors of a head");
        let panels = self.reversed.panels().columns(window.clone());
        gemm(self.level, x, panels, None, Epilogue::Store, MatMut::new(out, x.rows(), window.len()));
    }
}

/// Relative key embeddings, and their products with the keys of one head of a text.
pub(crate) struct RelativeScores<'a> {
    embeddings: &'a RelativeKeyEmbeddings,
    tokens: usize,
    /// The window of all keys, and k_j times each vector of it `[attended, window]`.
    key_products: Option<(Range<usize>, &'a [f32])>,
}

impl RelativeScores<'_> {
    /// Adds to the scores `[rows, ≥ attended]` of some queries q `[rows, d]`, the first of which
    /// has the index `first`.
    pub(crate) fn add(&self, q: MatRef<'_>, first: usize, mut scores: MatMut<'_>) {
        let embeddings = self.embeddings;
        let window = embeddings.window(first..first + q.rows(), self.tokens);
        let mut products = vec![0.0; q.rows() * window.len()];
        embeddings.multiply(q, &window, &mut products);
        for (r, products) in products.chunks_exact(window.len()).enumerate() {
            let start = embeddings.positions - 1 - (first + r);
            let row = &mut scores.row_mut(r)[..self.tokens];
            for (score, product) in row.iter_mut().zip(&products[start - window.start..]) {
                *score += product;
            }
            if let Some((window, key_products)) = &self.key_products {
                let key_products = key_products.chunks_exact(window.len());
                for (j, (score, products)) in row.iter_mut().zip(key_products).enumerate() {
                    *score += products[start + j - window.start];
                }
            }
        }
    }
}
