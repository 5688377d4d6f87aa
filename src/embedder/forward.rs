//! Batches through the encoder, and what comes of them.

use std::sync::PoisonError;

use likewise_kernels::view::MatRef;

use super::Embedder;
use super::tokenization::Encoded;
use crate::batch::Batch;
use crate::encoder::Workspace;
use crate::error::{Error, Result};
use crate::parallel::TeamMember;
use crate::trace::{NullObserver, Observer};

impl Embedder {
    pub(super) fn batch<'a>(&self, texts: impl IntoIterator<Item = &'a Encoded>) -> Batch {
        let positions = self.encoder.spec().embeddings.position_ids;
        Batch::new(texts.into_iter().map(|text| text.ids.as_slice()), positions)
    }

    /// One pass by this thread. `then` sees the token vectors `[T, D]`.
    pub(super) fn pass_alone<O: Observer>(&self, batch: &Batch, observer: &mut O, then: impl FnOnce(MatRef<'_>)) {
        self.with_buffers(batch, |buffers| {
            TeamMember::solo(buffers, |member, buffers| {
                let output = self.encoder.forward(member, batch, buffers, observer);
                member.look(|reader| then(reader.read(&buffers.stream(output).values)));
            });
        });
    }

    /// One pass by all threads. `then` sees the token vectors `[T, D]`.
    pub(super) fn pass_together(&self, batch: &Batch, then: impl FnOnce(MatRef<'_>)) {
        self.with_buffers(batch, |buffers| {
            let output = self
                .pool
                .team(buffers, |member, buffers| self.encoder.forward(member, batch, buffers, &mut NullObserver));
            TeamMember::solo(buffers, |member, buffers| {
                member.look(|reader| then(reader.read(&buffers.stream(output).values)));
            });
        });
    }

    /// The pooled vectors of a batch, from its token vectors.
    pub(super) fn pool_sentences<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a Encoded>,
        batch: &Batch,
        tokens: MatRef<'_>,
        pooled: &mut [f32],
    ) {
        let outs = pooled.chunks_exact_mut(self.head.pooled_width());
        for ((s, text), out) in texts.into_iter().enumerate().zip(outs) {
            self.head.pool(tokens.rows_in(batch.sentence(s)), text.prompt, out);
        }
    }

    /// Runs a pass with matrices of an earlier one, or new ones.
    pub(super) fn with_buffers(&self, batch: &Batch, pass: impl FnOnce(&mut Workspace)) {
        let free = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = free().pop().unwrap_or_else(|| Workspace::new(self.encoder.spec(), self.precision));
        buffers.resize(batch.tokens());
        pass(&mut buffers);
        // What is kept is bounded, whatever passes there were: those of many threads together, of many callers, of a trace.
        let mut free = free();
        if free.len() < self.pool.size() && buffers.capacity_tokens() <= self.longest_pass() {
            free.push(buffers);
        }
    }

    /// Refuses vectors that are not finite, saying which weight is to blame if it can be found.
    pub(super) fn check(&self, vectors: &[f32], members: &[usize], batch: &Batch) -> Result<()> {
        match vectors.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let text = members[at / self.width()];
                Err(self.encoder.find_bad_embedding(batch).unwrap_or(Error::NotFinite { text }))
            }
        }
    }
}
