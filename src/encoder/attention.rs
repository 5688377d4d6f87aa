//! Self-attention: the only layer in which tokens learn of one another.
//!
//! Each token asks a question (its query), offers a label (its key) and has something to say (its value), all three linear
//! maps of its vector. In each of H heads, of width d = D/H, token i takes an average of the values of all tokens j of its
//! sentence, weighted by how well its query fits their keys:
//!
//! ```text
//! score[i][j] = q[i] · k[j] / √d  (+ what it may be told of i − j: `relative.rs`)
//! p[i]        = softmax(score[i])
//! context[i]  = Σ_j p[i][j] v[j]
//! ```
//!
//! (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, §3.2.) Then the heads are joined and mapped once more.
//!
//! Sentences are handled one at a time, so none sees another and nothing is masked. A block of rows is taken through all
//! three lines before the next, while its scores (at most 12 rows of 512 numbers) are in the first-level cache.

use likewise_kernels::Level;
use likewise_kernels::gemm::{self, Epilogue, Panels, gemm};
use likewise_kernels::softmax::{Scores, softmax};
use likewise_kernels::view::{MatMut, MatRef, padded_stride};

use crate::checkpoint::Checkpoint;
use crate::encoder::Pass;
use crate::encoder::arena::ArenaLayout;
use crate::encoder::families::Blueprint;
use crate::encoder::linear::{ComputeConfig, Linear, LinearEpilogue};
use crate::encoder::norm::LayerNorm;
use crate::encoder::relative_position::RelativeKeyEmbeddings;
use crate::error::Result;
use crate::parallel::TeamMember;
use crate::trace::{Observer, TracePoint};

/// LayerNorm(x + output(heads(x))).
pub(crate) struct Attention {
    level: Level,
    heads: usize,
    head_width: usize,
    /// Queries, keys and values: D to 3·D.
    qkv: Linear,
    output: Linear,
    norm: LayerNorm,
    distances: Option<RelativeKeyEmbeddings>,
}

impl Attention {
    pub(crate) fn find(
        checkpoint: &Checkpoint,
        how: ComputeConfig,
        places: &mut ArenaLayout,
        blueprint: &Blueprint,
        layer: usize,
    ) -> Result<Self> {
        let (names, width) = (&blueprint.names, blueprint.width);
        let module = |pattern: &str| pattern.replace("{}", &layer.to_string());
        let qkv = [names.query, names.key, names.value].map(module);
        Ok(Self {
            level: how.level,
            heads: blueprint.heads,
            head_width: blueprint.head_width(),
            qkv: Linear::find(checkpoint, how, places, &qkv, width, width)?,
            output: Linear::find(checkpoint, how, places, &[module(names.attention_output)], width, width)?,
            norm: LayerNorm::load(checkpoint, how.level, &module(names.attention_norm), width, blueprint.epsilon)?,
            distances: RelativeKeyEmbeddings::load(checkpoint, how.level, blueprint, layer)?,
        })
    }

    /// Its steps, from `buffers.x` `[T, D]` to `buffers.attended` `[T, D]`.
    pub(crate) fn forward<O: Observer>(
        &self,
        member: &mut TeamMember<'_>,
        pass: &Pass<'_>,
        observer: &mut O,
        layer: usize,
    ) {
        let Pass { batch, weights, buffers, .. } = *pass;
        let width = self.heads * self.head_width;
        self.qkv.forward(member, weights, &buffers.x, LinearEpilogue::Store, &buffers.qkv);
        observer.record_columns(member, TracePoint::Query(layer), &buffers.qkv, 0..width);
        observer.record_columns(member, TracePoint::Key(layer), &buffers.qkv, width..2 * width);
        observer.record_columns(member, TracePoint::Value(layer), &buffers.qkv, 2 * width..3 * width);

        let mut scratch = Scratch::default();
        member.fill_blocks(
            &buffers.context.numbers,
            batch.offsets(),
            self.head_width,
            |sentence, head, context, reader| {
                let qkv = reader.read(&buffers.qkv).rows_in(batch.sentence(sentence));
                let part = |i: usize| {
                    qkv.cols_in(i * width + head * self.head_width..i * width + (head + 1) * self.head_width)
                };
                let bias = pass.score_bias.map(|bias| bias.head(head));
                self.one_head([part(0), part(1), part(2)], bias, context, &mut scratch, |probabilities| {
                    observer.record(TracePoint::Probabilities(layer), probabilities);
                });
            },
        );
        observer.record_matrix(member, TracePoint::Context(layer), &buffers.context.numbers);
        buffers.context.quantize(member, self.level);

        self.output.forward(member, weights, &buffers.context, LinearEpilogue::Add(&buffers.x.numbers), &buffers.sum);
        self.norm.forward(member, &buffers.sum, &buffers.attended);
        observer.record_matrix(member, TracePoint::Attention(layer), &buffers.attended.numbers);
    }

    /// context `[L, d]` of one head of one sentence, from its queries, keys and values `[L, d]`. `see` is shown each block of
    /// rows of probabilities.
    fn one_head(
        &self,
        [q, k, v]: [MatRef<'_>; 3],
        bias: Option<(&[f32], usize)>,
        mut context: MatMut<'_>,
        scratch: &mut Scratch,
        mut see: impl FnMut(MatRef<'_>),
    ) {
        let tokens = q.rows();
        let keys = Panels::transposed(self.level, k, &mut scratch.keys);
        // The values of a head are some columns of a row-major matrix: a panel as it lies, if whole panels fit.
        let values =
            Panels::in_place(self.level, v).unwrap_or_else(|| Panels::copied(self.level, v, &mut scratch.values));
        let scale = 1.0 / (self.head_width as f32).sqrt();
        // Rows are padded to whole panels, so that the product has no ragged edge; the softmax leaves the padding zero.
        let columns = tokens.next_multiple_of(self.level.panel_width());
        let block = self.level.tile_rows();
        let stride = padded_stride(columns);
        let memory = scratch.scores.numbers(block * stride);
        let distances = self.distances.as_ref().map(|distances| distances.of_keys(k, &mut scratch.distances));
        for first in (0..tokens).step_by(block) {
            let rows = first..(first + block).min(tokens);
            let mut scores = MatMut::with_stride(memory, rows.len(), columns, stride);
            gemm(self.level, q.rows_in(rows.clone()), keys, None, Epilogue::Store, scores.reborrow());
            if let Some(distances) = &distances {
                distances.add(q.rows_in(rows.clone()), first, scores.reborrow());
            }
            let bias = match bias {
                Some((bias, middle)) => Scores { scale, bias, start: middle - first },
                None => Scores { scale, bias: &[], start: 0 },
            };
            softmax(self.level, scores, tokens, bias);
            let probabilities = MatRef::with_stride(memory, rows.len(), tokens, stride);
            gemm(self.level, probabilities, values, None, Epilogue::Store, context.rows_in(rows));
            see(probabilities);
        }
    }

    /// Its matrices, in the order of a pass.
    pub(crate) fn linears(&self) -> [&Linear; 2] {
        [&self.qkv, &self.output]
    }

    /// The same, to be packed.
    pub(crate) fn linears_mut(&mut self) -> [&mut Linear; 2] {
        [&mut self.qkv, &mut self.output]
    }
}

/// Memory that one head after another uses.
#[derive(Default)]
struct Scratch {
    keys: gemm::Scratch,
    values: gemm::Scratch,
    scores: gemm::Scratch,
    distances: Vec<f32>,
}
