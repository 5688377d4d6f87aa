//! Passes of a batch through the encoder, and the pooling of their token vectors.

use std::sync::PoisonError;

use likewise_kernels::view::MatRef;

use super::batch_plan::MAX_TOKENS_PER_BATCH;
use super::model::Embedder;
use super::tokenization::TokenizedIds;
use crate::batch::Batch;
use crate::encoder::PassBuffers;
use crate::error::{Error, Result};
use crate::parallel::TeamMember;
use crate::trace::{NullObserver, Observer};

impl Embedder {
    /// Concatenates the ids of texts to a batch.
    pub(super) fn batch<'a>(&self, texts: impl IntoIterator<Item = &'a TokenizedIds>) -> Batch {
        let positions = self.encoder.spec().embeddings.position_ids;
        Batch::new(texts.into_iter().map(|text| text.ids.as_slice()), positions)
    }

    /// Runs one pass by a team of all threads or by this thread, and gives the pooled vector `[W]`
    /// of each text to `collect`.
    pub(super) fn run_pooled(
        &self,
        texts: &[&TokenizedIds],
        batch: &Batch,
        use_team: bool,
        mut collect: impl FnMut(usize, &[f32]),
    ) {
        let selected = self.single_tokens(texts, batch);
        let mut pooled = vec![0.0; self.head.pooled_width()];
        self.run(batch, selected.as_deref(), use_team, |tokens| {
            for (s, text) in texts.iter().enumerate() {
                if selected.is_some() {
                    collect(s, tokens.row(s));
                } else {
                    self.head.pool(tokens.rows_in(batch.token_range(s)), text.excluded_tokens, &mut pooled);
                    collect(s, &pooled);
                }
            }
        });
    }

    /// Runs one pass by a team of all threads or by this thread, and gives the vectors of all
    /// tokens `[T, D]` to `consume`.
    #[cfg(feature = "serve")]
    pub(super) fn run_tokens(&self, batch: &Batch, use_team: bool, consume: impl FnOnce(MatRef<'_>)) {
        self.run(batch, None, use_team, consume);
    }

    /// Runs one pass on this thread, and gives the vectors of all tokens `[T, D]` to `consume`.
    pub(super) fn run_observed<O: Observer>(&self, batch: &Batch, observer: &mut O, consume: impl FnOnce(MatRef<'_>)) {
        self.run_single(batch, None, observer, consume);
    }

    /// Pools the vectors of all tokens `[T, D]` of a batch to one vector a text, `pooled` `[S, W]`.
    pub(super) fn pool_texts<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a TokenizedIds>,
        batch: &Batch,
        tokens: MatRef<'_>,
        pooled: &mut [f32],
    ) {
        let outs = pooled.chunks_exact_mut(self.head.pooled_width());
        for ((s, text), out) in texts.into_iter().enumerate().zip(outs) {
            self.head.pool(tokens.rows_in(batch.token_range(s)), text.excluded_tokens, out);
        }
    }

    /// Returns the row of the only token of each text that pooling reads `[S]`. None if pooling
    /// reads several tokens of a text, or none.
    fn single_tokens(&self, texts: &[&TokenizedIds], batch: &Batch) -> Option<Vec<usize>> {
        let row = |(s, text): (usize, &&TokenizedIds)| {
            let tokens = batch.token_range(s);
            Some(tokens.start + self.head.single_token(tokens.len(), text.excluded_tokens)?)
        };
        texts.iter().enumerate().map(row).collect()
    }

    fn run(&self, batch: &Batch, selected: Option<&[usize]>, use_team: bool, consume: impl FnOnce(MatRef<'_>)) {
        if use_team {
            self.run_team(batch, selected, consume);
        } else {
            self.run_single(batch, selected, &mut NullObserver, consume);
        }
    }

    fn run_single<O: Observer>(
        &self,
        batch: &Batch,
        selected: Option<&[usize]>,
        observer: &mut O,
        consume: impl FnOnce(MatRef<'_>),
    ) {
        self.with_buffers(batch, selected, |buffers| {
            TeamMember::solo(buffers, |member, buffers| {
                let output = self.encoder.forward(member, batch, buffers, selected, observer);
                buffers.read_output(member, output, consume);
            });
        });
    }

    fn run_team(&self, batch: &Batch, selected: Option<&[usize]>, consume: impl FnOnce(MatRef<'_>)) {
        self.with_buffers(batch, selected, |buffers| {
            let output = self.thread_pool.team(buffers, |member, buffers| {
                self.encoder.forward(member, batch, buffers, selected, &mut NullObserver)
            });
            // The team has ended. Only a member of the team that a matrix is bound to may read it,
            // so a team of one reads the result.
            TeamMember::solo(buffers, |member, buffers| buffers.read_output(member, output, consume));
        });
    }

    /// Calls `pass` with the buffers of an earlier pass, or with new ones.
    fn with_buffers(&self, batch: &Batch, selected: Option<&[usize]>, pass: impl FnOnce(&mut PassBuffers)) {
        let lock = || self.pass_buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = lock().pop();
        let mut buffers = reused.unwrap_or_else(|| PassBuffers::new(self.encoder.spec(), self.precision));
        buffers.resize(batch.tokens(), selected.map_or(0, <[usize]>::len));
        pass(&mut buffers);
        // Many callers at once, or a trace, may need more or larger buffers than the embedder
        // keeps.
        let mut kept = lock();
        if kept.len() < self.thread_pool.size() && buffers.capacity_tokens() <= self.max_batch_tokens() {
            kept.push(buffers);
        }
    }

    /// Returns the largest number of tokens in a batch of one thread.
    pub(super) fn max_batch_tokens(&self) -> usize {
        self.tokenizer.max_tokens().max(MAX_TOKENS_PER_BATCH)
    }

    /// Rejects vectors `[S, width]` that are not finite. The error names the weight that causes it,
    /// if one is found.
    pub(super) fn check_finite(&self, vectors: &[f32], text_indices: &[usize], batch: &Batch) -> Result<()> {
        let Some(element) = vectors.iter().position(|x| !x.is_finite()) else { return Ok(()) };
        let text = text_indices[element / self.width()];
        Err(self.encoder.find_bad_embedding(batch).unwrap_or(Error::NotFinite { text }))
    }
}
