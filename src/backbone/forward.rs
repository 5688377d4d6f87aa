//! Passes of a batch through the encoder.

use std::sync::PoisonError;

use likewise_kernels::view::MatRef;

use super::batch_plan::MAX_TOKENS_PER_BATCH;
use super::model::Backbone;
use super::tokenized_text::TokenizedText;
use crate::batch::Batch;
use crate::encoder::PassBuffers;
use crate::error::Error;
use crate::parallel::TeamMember;
use crate::trace::{NullObserver, Observer};

impl Backbone {
    /// Concatenates the ids of texts to a batch.
    pub(crate) fn batch<'a>(&self, texts: impl IntoIterator<Item = &'a TokenizedText>) -> Batch {
        let positions = self.encoder.spec().embeddings.position_ids;
        let mut unattended = Vec::new();
        let batch = Batch::new(
            texts.into_iter().map(|text| {
                unattended.push(text.unattended_tokens);
                (text.ids.as_slice(), text.types.as_slice())
            }),
            positions,
        );
        batch.with_unattended(unattended)
    }

    /// Runs one pass by a team of all threads or by this thread, and gives the vectors of all
    /// tokens `[T, D]` to `consume`.
    ///
    /// With `selected`, the row of one token of each text `[S]`, it gives the vectors of these
    /// tokens `[S, D]`.
    pub(crate) fn run(
        &self,
        batch: &Batch,
        selected: Option<&[usize]>,
        use_team: bool,
        consume: impl FnOnce(MatRef<'_>),
    ) {
        if use_team {
            self.run_team(batch, selected, consume);
        } else {
            self.run_single(batch, selected, &mut NullObserver, consume);
        }
    }

    /// Runs one pass on this thread, and gives the vectors of all tokens `[T, D]` to `consume`.
    pub(crate) fn run_observed<O: Observer>(&self, batch: &Batch, observer: &mut O, consume: impl FnOnce(MatRef<'_>)) {
        self.run_single(batch, None, observer, consume);
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
    pub(crate) fn max_batch_tokens(&self) -> usize {
        self.tokenizer.max_tokens().max(MAX_TOKENS_PER_BATCH)
    }

    /// Returns the error for a result of a text that is not finite. It names the weight that causes
    /// it, if one is found.
    pub(crate) fn not_finite(&self, text_index: usize, batch: &Batch) -> Error {
        self.encoder.find_bad_embedding(batch).unwrap_or(Error::NotFinite { text: text_index })
    }
}
