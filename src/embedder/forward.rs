//! Batches through the encoder, and what comes of them.

use std::sync::PoisonError;

use likewise_kernels::view::MatRef;

use super::Embedder;
use super::tokenization::EncodedIds;
use crate::batch::Batch;
use crate::encoder::Workspace;
use crate::error::{Error, Result};
use crate::parallel::TeamMember;
use crate::trace::{NullObserver, Observer};

impl Embedder {
    pub(super) fn batch<'a>(&self, texts: impl IntoIterator<Item = &'a EncodedIds>) -> Batch {
        let positions = self.encoder.blueprint().positions;
        Batch::new(texts.into_iter().map(|text| text.ids.as_slice()), positions)
    }

    /// One pass by this thread. `then` sees the token vectors `[T, D]`.
    pub(super) fn run_single<O: Observer>(&self, batch: &Batch, observer: &mut O, then: impl FnOnce(MatRef<'_>)) {
        self.with_workspace(batch, |buffers| {
            TeamMember::alone(buffers, |member, buffers| {
                self.encoder.forward(member, batch, buffers, observer);
                member.look(|reader| then(reader.read(&buffers.x.numbers)));
            });
        });
    }

    /// One pass by all threads. `then` sees the token vectors `[T, D]`.
    pub(super) fn run_team(&self, batch: &Batch, then: impl FnOnce(MatRef<'_>)) {
        self.with_workspace(batch, |buffers| {
            self.thread_pool
                .team(buffers, |member, buffers| self.encoder.forward(member, batch, buffers, &mut NullObserver));
            TeamMember::alone(buffers, |member, buffers| member.look(|reader| then(reader.read(&buffers.x.numbers))));
        });
    }

    /// The pooled vectors of a batch, from its token vectors.
    pub(super) fn pool_sentences<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a EncodedIds>,
        batch: &Batch,
        tokens: MatRef<'_>,
        pooled: &mut [f32],
    ) {
        let outs = pooled.chunks_exact_mut(self.head.pooled_width());
        for ((s, text), out) in texts.into_iter().enumerate().zip(outs) {
            self.head.pool(tokens.rows_in(batch.sentence(s)), text.excluded_tokens, out);
        }
    }

    /// Runs a pass with matrices of an earlier one, or new ones.
    pub(super) fn with_workspace(&self, batch: &Batch, pass: impl FnOnce(&mut Workspace)) {
        let free = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = free().pop().unwrap_or_else(|| Workspace::new(self.encoder.blueprint(), self.precision));
        buffers.resize(batch.tokens());
        pass(&mut buffers);
        // What is kept is bounded, whatever passes there were: those of many threads together, of many callers, of a trace.
        let mut free = free();
        if free.len() < self.thread_pool.size() && buffers.room() <= self.max_batch_tokens() {
            free.push(buffers);
        }
    }

    /// Refuses vectors that are not finite, saying which weight is to blame if it can be found.
    pub(super) fn check_finite(&self, vectors: &[f32], members: &[usize], batch: &Batch) -> Result<()> {
        match vectors.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let text = members[at / self.width()];
                Err(self.encoder.find_bad_embedding(batch).unwrap_or(Error::NotFinite { text }))
            }
        }
    }
}
