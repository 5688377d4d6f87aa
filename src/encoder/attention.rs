//! Self-attention: the only sublayer in which tokens read one another.
//!
//! Three linear maps of a token's vector give its query, key and value. In each of H heads, of size
//! d, token i takes a weighted mean of the values of all tokens j of its text. The weights
//! measure how well its query matches their keys:
//!
//! ```text
//! score[i][j] = q[i] · k[j] / √d  (+ in some models a term for i − j: `relative_position.rs`)
//! p[i]        = softmax(score[i])
//! context[i]  = Σ_j p[i][j] v[j]
//! ```
//!
//! (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, §3.2.) Then the heads are joined and
//! mapped once more.
//!
//! Texts are handled one at a time, so none reads another and nothing is masked. Each block of rows
//! goes through all three formulas before the next block starts, while its scores (12 rows of about
//! 512 elements in the supported models) are in the first-level cache.

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, Panels, gemm};
use likewise_kernels::memory::AlignedScratch;
use likewise_kernels::softmax::{ScoreTransform, softmax};
use likewise_kernels::view::{MatMut, MatRef, padded_stride};

use crate::encoder::activations::Activations;
use crate::encoder::layer::SublayerBody;
use crate::encoder::linear::{Linear, LinearEpilogue};
use crate::encoder::loader::WeightLoader;
use crate::encoder::pass::PassContext;
use crate::encoder::relative_position::RelativeKeyEmbeddings;
use crate::encoder::spec::AttentionSpec;
use crate::error::Result;
use crate::parallel::TeamMatrix;
use crate::trace::{Observer, TracePoint};

/// output(heads(qkv(x))), D to D.
pub(crate) struct Attention {
    level: Level,
    heads: usize,
    head_size: usize,
    /// Queries, keys and values: D to 3·H·d.
    qkv: Linear,
    /// H·d to D.
    output: Linear,
    relative_keys: Option<RelativeKeyEmbeddings>,
}

impl Attention {
    pub(crate) fn load(loader: &mut WeightLoader<'_>, spec: &AttentionSpec) -> Result<Self> {
        let level = loader.compute().level;
        Ok(Self {
            level,
            heads: spec.heads,
            head_size: spec.head_size,
            qkv: loader.linear(&spec.qkv)?,
            output: loader.linear(&spec.output)?,
            relative_keys: match &spec.relative_keys {
                Some(keys) => Some(RelativeKeyEmbeddings::load(loader.tensors(), level, keys, spec.head_size)?),
                None => None,
            },
        })
    }

    /// Runs a step: computes the weighted means `[T, H·d]` from queries, keys and values
    /// `[T, 3·H·d]`. A member of the team takes one head of one text after another.
    fn attend<O: Observer>(&self, cx: &mut PassContext<'_, '_, O>) {
        let PassContext { member, batch, work, relative_bias, observer, layer, .. } = cx;
        let width = self.heads * self.head_size;
        let mut scratch = Scratch::default();
        let context = &work.context.values;
        member.fill_blocks(context, batch.text_bounds(), self.head_size, |text, head, context, reader| {
            let qkv = reader.read(&work.qkv).rows_in(batch.token_range(text));
            let [q, k, v] = [0, 1, 2].map(|part| {
                let first = part * width + head * self.head_size;
                qkv.cols_in(first..first + self.head_size)
            });
            let bias = relative_bias.map(|bias| bias.head(head));
            self.attend_head([q, k, v], bias, context, &mut scratch, |probabilities| {
                observer.record(TracePoint::Probabilities(*layer), probabilities);
            });
        });
    }

    /// Computes the context `[L, d]` of one head of one text from its queries, keys and values
    /// `[L, d]`. `bias` is the values `[2·M − 1]` of the head, and the index of distance 0.
    /// `record_probabilities` gets each block of rows of probabilities `[rows, L]`.
    fn attend_head(
        &self,
        [q, k, v]: [MatRef<'_>; 3],
        bias: Option<(&[f32], usize)>,
        mut context: MatMut<'_>,
        scratch: &mut Scratch,
        mut record_probabilities: impl FnMut(MatRef<'_>),
    ) {
        let tokens = q.rows();
        let keys = Panels::transposed(self.level, k, &mut scratch.keys);
        // The values of a head are some columns of a row-major matrix. If they are whole panels,
        // they need no copy.
        let values =
            Panels::in_place(self.level, v).unwrap_or_else(|| Panels::copied(self.level, v, &mut scratch.values));
        let scale = 1.0 / (self.head_size as f32).sqrt();
        // Rows are padded to whole panels, so that the product has no ragged edge; the softmax
        // leaves the padding zero.
        let columns = tokens.next_multiple_of(self.level.panel_width());
        let block = self.level.tile_rows();
        let stride = padded_stride(columns);
        let memory = scratch.scores.slice_mut(block * stride);
        let relative_keys = self.relative_keys.as_ref().map(|keys| keys.for_keys(k, &mut scratch.relative_keys));
        for first in (0..tokens).step_by(block) {
            let rows = first..(first + block).min(tokens);
            // [rows, columns], of which the first L are scores.
            let mut scores = MatMut::with_stride(memory, rows.len(), columns, stride);
            gemm(self.level, q.rows_in(rows.clone()), keys, None, Epilogue::Store, scores.reborrow());
            if let Some(relative_keys) = &relative_keys {
                relative_keys.add(q.rows_in(rows.clone()), first, scores.reborrow());
            }
            let transform = match bias {
                Some((bias, middle)) => ScoreTransform { scale, bias, start: middle - first },
                None => ScoreTransform { scale, bias: &[], start: 0 },
            };
            softmax(self.level, scores, tokens, transform);
            let probabilities = MatRef::with_stride(memory, rows.len(), tokens, stride);
            gemm(self.level, probabilities, values, None, Epilogue::Store, context.rows_in(rows));
            record_probabilities(probabilities);
        }
    }
}

impl SublayerBody for Attention {
    const OUTPUT: fn(usize) -> TracePoint = TracePoint::Attention;

    fn forward<O: Observer>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        input: &Activations,
        epilogue: LinearEpilogue<'_>,
        out: &TeamMatrix,
    ) {
        let work = cx.work;
        self.qkv.forward(cx, input, LinearEpilogue::Store, &work.qkv);
        let points = [TracePoint::Query, TracePoint::Key, TracePoint::Value];
        for (part, point) in points.into_iter().enumerate() {
            let width = self.heads * self.head_size;
            cx.observer.record_columns(cx.member, point(cx.layer), &work.qkv, part * width..(part + 1) * width);
        }
        self.attend(cx);
        cx.observer.record_matrix(cx.member, TracePoint::Context(cx.layer), &work.context.values);
        work.context.quantize(cx.member, self.level);
        self.output.forward(cx, &work.context, epilogue, out);
    }

    fn linears(&self) -> [&Linear; 2] {
        [&self.qkv, &self.output]
    }
}

/// Memory that is reused from head to head.
#[derive(Default)]
struct Scratch {
    keys: AlignedScratch,
    values: AlignedScratch,
    scores: AlignedScratch,
    relative_keys: Vec<f32>,
}
