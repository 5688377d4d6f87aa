//! Self-attention: the only sublayer in which tokens read one another.
//!
//! Three linear maps of a token's vector give its query, key and value. In each of H heads, of size
//! d, token i takes a weighted mean of the values of all tokens j of its text. The weights
//! measure how well its query matches their keys:
//!
//! ```text
//! score[i][j] = q[i] · k[j] / √d        q, k, v [L, d]
//! p[i]        = softmax(score[i])       score, p [L, L]
//! context[i]  = Σ_j p[i][j] v[j]        context [L, d]
//! ```
//!
//! (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>, §3.2.) Then the heads are joined and
//! mapped once more. In some models q and k are rotated by their positions first (`rotary.rs`), or
//! a term for i − j is added to the score (`relative_position.rs`).
//!
//! Texts are handled one at a time, so none reads another and nothing is masked. (The last tokens
//! of a text may be without keys: `Batch::with_unattended`.) Each block of rows goes through all
//! three formulas before the next block starts, while its scores are in the caches (12 rows of as
//! many elements as the block sees keys).
//!
//! # Windows
//!
//! In some layers a query sees only the keys near it. A block of queries multiplies with the keys
//! that any of its queries sees, and the softmax gives the others the probability 0. The blocks
//! have 12, 6 or 2 rows, by SIMD level, so the first key that a block sees depends on the level.
//! The bits of a vector do not, because the range of keys starts at a multiple of [`F32_K_RUN`]:
//!
//! - The matrix product sums the keys in runs of that length and then adds the runs. Because ranges
//!   start at whole runs, a run has the same keys in every range. A range that starts earlier only
//!   adds runs of zeros before the others, and one that ends later only adds zeros at the end.
//!   Adding zero changes no bit of a sum. (The sum of a run starts at +0, so it is never −0, which
//!   +0 would change, unless a product underflows to −0.)
//! - The softmax keeps sixteen partial sums, for the columns modulo sixteen, which divides the run.
//!   So each score is added to the same partial sum, and the hidden ones add zeros.

use std::ops::Range;
use std::sync::Arc;

use likewise_kernels::Level;
use likewise_kernels::gemm::{Epilogue, F32_K_RUN, Panels, gemm};
use likewise_kernels::memory::AlignedScratch;
use likewise_kernels::softmax::{ScoreTransform, softmax};
use likewise_kernels::view::{MatMut, MatRef, padded_stride};

use crate::encoder::layer::{SublayerBody, SublayerInput, SublayerSites, project};
use crate::encoder::linear::{Linear, LinearEpilogue};
use crate::encoder::loader::WeightLoader;
use crate::encoder::pass::PassContext;
use crate::encoder::relative_position::RelativeKeyEmbeddings;
use crate::encoder::rotary::{RotaryPositions, Rotations};
use crate::encoder::spec::{AttentionSpec, Window};
use crate::error::Result;
use crate::parallel::TeamMatrix;
use crate::trace::{LayerSite, Observer, Site};

/// output(heads(qkv(x))), D to D.
pub(crate) struct Attention {
    level: Level,
    heads: usize,
    head_size: usize,
    /// Queries, keys and values: D to 3·H·d.
    qkv: Linear,
    /// H·d to D.
    output: Linear,
    rotary: Option<Arc<RotaryPositions>>,
    relative_keys: Option<RelativeKeyEmbeddings>,
    scale: f32,
    window: Window,
}

/// The tokens of a text whose keys and values fit in the second-level cache.
const SHORT_TEXT_TOKENS: usize = 1024;

/// What one head of one text reads.
struct HeadInput<'a> {
    /// The queries that are computed `[rows, d]`: all of the text, or one.
    q: MatRef<'a>,
    /// The index of the first query in the text.
    first_query: usize,
    /// L, the tokens of the text.
    tokens: usize,
    /// Keys and values `[attended, d]`: of all L tokens, or of the first ones.
    k: MatRef<'a>,
    v: MatRef<'a>,
    rotations: Option<&'a Rotations>,
    /// The values `[2·M − 1]` of the head's bias, and the index of distance 0.
    bias: Option<(&'a [f32], usize)>,
}

/// Receives what one head of one text computes, in a trace.
struct HeadObserver<'a, O> {
    observer: &'a mut O,
    layer: usize,
    /// L, the tokens of the text.
    tokens: usize,
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
            rotary: spec.rotary.as_ref().map(|rotary| loader.rotary_positions(rotary)),
            relative_keys: match &spec.relative_keys {
                Some(keys) => Some(RelativeKeyEmbeddings::load(loader.tensors(), level, keys, spec.head_size)?),
                None => None,
            },
            scale: spec.scale,
            window: spec.window,
        })
    }

    /// Runs steps: computes queries, keys and values `[T, 3·H·d]`. If tokens are selected, the
    /// queries are computed for those alone, to the workspace of the selected tokens.
    fn project<O: Observer>(&self, cx: &mut PassContext<'_, '_, O>, input: SublayerInput<'_>) {
        let width = self.heads * self.head_size;
        let work = cx.work;
        let Some(selected) = cx.selected else {
            return self.qkv.forward(cx, input.tokens, LinearEpilogue::Store, &work.qkv);
        };
        // If the keys do not start at a panel, the queries before them are computed in vain.
        let first = if self.qkv.starts_panel(width) { width } else { 0 };
        self.qkv.forward_columns(cx, input.tokens, first..3 * width, LinearEpilogue::Store, &work.qkv);
        self.qkv.forward_columns(cx, input.selected, 0..width, LinearEpilogue::Store, &selected.work.qkv);
    }

    /// Runs a step: computes the weighted means `[T, H·d]`, or those of the selected tokens
    /// `[S, H·d]`. A member of the team takes one head of one text after another.
    fn attend<O: Observer>(&self, cx: &mut PassContext<'_, '_, O>) {
        let PassContext { member, batch, work, relative_bias, observer, layer, selected, .. } = cx;
        let width = self.heads * self.head_size;
        let rotations = self.rotary.as_ref().map(|rotary| rotary.for_tokens(batch.longest_text()));
        let mut scratch = Scratch::default();
        let one_row_a_text: Vec<usize> = selected.map_or(Vec::new(), |selected| (0..=selected.rows.len()).collect());
        let (context, bounds) = match selected {
            None => (&work.context.values, batch.text_bounds()),
            Some(selected) => (&selected.work.context.values, one_row_a_text.as_slice()),
        };
        member.fill_blocks(context, bounds, self.head_size, |text, head, context, reader| {
            let tokens = batch.token_range(text);
            let columns = |part: usize| {
                let first = part * width + head * self.head_size;
                first..first + self.head_size
            };
            let qkv = reader.read(&work.qkv).rows_in(tokens.clone());
            let (q, first_query) = match selected {
                None => (qkv.cols_in(columns(0)), 0),
                Some(selected) => {
                    let row = reader.read(&selected.work.qkv).rows_in(text..text + 1);
                    (row.cols_in(columns(0)), selected.rows[text] - tokens.start)
                }
            };
            let attended = 0..batch.attended_tokens(text);
            let [k, v] = [1, 2].map(|part| qkv.cols_in(columns(part)).rows_in(attended.clone()));
            let bias = relative_bias.map(|bias| bias.head(head));
            let rotations = rotations.as_deref();
            let input = HeadInput { q, first_query, tokens: tokens.len(), k, v, rotations, bias };
            let mut observer = HeadObserver { observer: *observer, layer: *layer, tokens: tokens.len() };
            self.attend_head(&input, context, &mut scratch, &mut observer);
        });
    }

    /// Computes the context `[rows, d]` of the queries of one head of one text.
    fn attend_head<O: Observer>(
        &self,
        input: &HeadInput<'_>,
        mut context: MatMut<'_>,
        scratch: &mut Scratch,
        observer: &mut HeadObserver<'_, O>,
    ) {
        let Scratch { rotated_keys, rotated_queries, keys, values, scores, relative_keys } = scratch;
        let &HeadInput { q: queries, first_query, k, v, .. } = input;
        let key_count = k.rows();
        let k = match input.rotations {
            Some(rotations) => rotations.rotate(self.level, k, 0, rotated_keys),
            None => k,
        };
        if input.rotations.is_some() {
            observer.record_rotated_keys(k);
        }
        let keys = Panels::transposed(self.level, k, keys);
        // The values of a head are some columns of a row-major matrix. If they are whole panels,
        // they need no copy; but the rows of a long text are in more pages than the CPU has address
        // translations for.
        let in_place = if key_count <= SHORT_TEXT_TOKENS { Panels::in_place(self.level, v) } else { None };
        let values = in_place.unwrap_or_else(|| Panels::copied(self.level, v, values));
        let relative_keys = self.relative_keys.as_ref().map(|keys| keys.for_keys(k, input.tokens, relative_keys));
        let block = self.block_rows(key_count);
        for row in (0..queries.rows()).step_by(block) {
            let rows = row..(row + block).min(queries.rows());
            // The index of the block's first query in the text.
            let first = first_query + row;
            let seen = self.keys_of_block(&(first..first + rows.len()), key_count);
            // Rows are padded to whole panels, so that the product has no ragged edge; the softmax
            // leaves the padding zero.
            let columns = seen.len().next_multiple_of(self.level.panel_width());
            let stride = padded_stride(columns);
            let memory = scores.slice_mut(block * stride);
            // [rows, columns], of which the first are scores.
            let mut scores = MatMut::with_stride(memory, rows.len(), columns, stride);
            let mut q = queries.rows_in(rows.clone());
            if let Some(rotations) = input.rotations {
                q = rotations.rotate(self.level, q, first, rotated_queries);
            }
            gemm(self.level, q, keys.columns(seen.clone()), None, Epilogue::Store, scores.reborrow());
            if let Some(relative_keys) = &relative_keys {
                relative_keys.add(q, first, scores.reborrow());
            }
            let (bias, start) = input.bias.map_or((&[][..], 0), |(bias, middle)| (bias, middle + seen.start - first));
            let transform = ScoreTransform { scale: self.scale, bias, start };
            let visible = |row: usize| {
                let keys = self.window.keys(first + row, key_count);
                keys.start - seen.start..keys.end - seen.start
            };
            observer.record_scores(input.rotations.map(|_| q), scores.reborrow(), seen.clone(), visible, transform);
            softmax(self.level, scores, visible, transform);
            let probabilities = MatRef::with_stride(memory, rows.len(), seen.len(), stride);
            let values = values.rows(seen.clone());
            gemm(self.level, probabilities, values, None, Epilogue::Store, context.rows_in(rows));
            observer.record_probabilities(seen, probabilities);
        }
    }

    /// Returns the rows of a block of queries. One tile, but several if the keys of the text do not
    /// fit in the second-level cache, so that each key that is loaded meets more queries.
    fn block_rows(&self, tokens: usize) -> usize {
        const TILES_OF_LONG_TEXT: usize = 4;
        let is_long = tokens > SHORT_TEXT_TOKENS && self.window == Window::FULL;
        self.level.tile_rows() * if is_long { TILES_OF_LONG_TEXT } else { 1 }
    }

    /// Returns the keys that a block of queries is multiplied with: those that any of them sees,
    /// from a whole run and to a whole panel (see the module documentation). There is at least one,
    /// also for queries after the last key that see none: their context is 0, as in PyTorch's
    /// `scaled_dot_product_attention`.
    fn keys_of_block(&self, queries: &Range<usize>, tokens: usize) -> Range<usize> {
        let start = self.window.keys(queries.start, tokens).start.min(tokens - 1) / F32_K_RUN * F32_K_RUN;
        let end = self.window.keys(queries.end - 1, tokens).end;
        start..end.next_multiple_of(self.level.panel_width()).min(tokens)
    }
}

impl<O: Observer> HeadObserver<'_, O> {
    /// Records the probabilities of a block for the keys `seen` `[rows, seen]`, with zeros for the
    /// other keys.
    fn record_probabilities(&mut self, seen: Range<usize>, probabilities: MatRef<'_>) {
        if !O::ENABLED {
            return;
        }
        let mut all = vec![0.0; probabilities.rows() * self.tokens];
        for (i, row) in all.chunks_exact_mut(self.tokens).enumerate() {
            row[seen.clone()].copy_from_slice(probabilities.row(i));
        }
        self.record(LayerSite::Probabilities, MatRef::new(&all, probabilities.rows(), self.tokens));
    }

    /// Records the rotated queries of a block `[rows, d]`, and its scores as the softmax transforms
    /// them, with −∞ for the keys that a query does not see.
    fn record_scores(
        &mut self,
        rotated: Option<MatRef<'_>>,
        raw: MatMut<'_>,
        seen: Range<usize>,
        visible: impl Fn(usize) -> Range<usize>,
        transform: ScoreTransform<'_>,
    ) {
        if !O::ENABLED {
            return;
        }
        if let Some(queries) = rotated {
            self.record(LayerSite::RotatedQuery, queries);
        }
        let mut all = vec![f32::NEG_INFINITY; raw.rows() * self.tokens];
        for (i, row) in all.chunks_exact_mut(self.tokens).enumerate() {
            for column in visible(i) {
                // Without a bias, `start` is zero and the index of the distance is below it.
                let distance = (transform.start + column).checked_sub(i);
                let bias = distance.and_then(|at| transform.bias.get(at)).copied().unwrap_or(0.0);
                row[seen.start + column] = raw.row(i)[column].mul_add(transform.scale, bias);
            }
        }
        self.record(LayerSite::Scores, MatRef::new(&all, raw.rows(), self.tokens));
    }

    /// Records the rotated keys `[attended, d]`, with zeros for the tokens without keys.
    fn record_rotated_keys(&mut self, keys: MatRef<'_>) {
        if !O::ENABLED {
            return;
        }
        self.record(LayerSite::RotatedKey, keys);
        let without = self.tokens - keys.rows();
        self.record(LayerSite::RotatedKey, MatRef::new(&vec![0.0; without * keys.cols()], without, keys.cols()));
    }

    fn record(&mut self, site: LayerSite, rows: MatRef<'_>) {
        self.observer.record(Site::Layer(site, self.layer), rows);
    }
}

impl SublayerBody for Attention {
    const SITES: SublayerSites = SublayerSites {
        input: LayerSite::AttentionInput,
        projection: LayerSite::AttentionProjection,
        sum: LayerSite::AttentionSum,
        output: LayerSite::Attention,
    };

    fn forward<O: Observer>(
        &self,
        cx: &mut PassContext<'_, '_, O>,
        input: SublayerInput<'_>,
        epilogue: LinearEpilogue<'_>,
        out: &TeamMatrix,
    ) {
        let work = cx.work;
        self.project(cx, input);
        for (part, site) in [LayerSite::Query, LayerSite::Key, LayerSite::Value].into_iter().enumerate() {
            let width = self.heads * self.head_size;
            let columns = part * width..(part + 1) * width;
            cx.observer.record_columns(cx.member, Site::Layer(site, cx.layer), &work.qkv, columns);
        }
        self.attend(cx);
        cx.observer.record_layer(cx.member, LayerSite::Context, cx.layer, &work.context.values);
        let context = &cx.selected.map_or(work, |selected| selected.work).context;
        context.quantize(cx.member, self.level);
        project(cx, &self.output, context, epilogue, out, Self::SITES.projection);
    }

    fn linears(&self) -> [&Linear; 2] {
        [&self.qkv, &self.output]
    }
}

/// Memory that is reused from head to head.
#[derive(Default)]
struct Scratch {
    rotated_keys: AlignedScratch,
    rotated_queries: AlignedScratch,
    keys: AlignedScratch,
    values: AlignedScratch,
    scores: AlignedScratch,
    relative_keys: Vec<f32>,
}
