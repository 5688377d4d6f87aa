//! Passes of a batch through the encoder, and the pooling of their token vectors.

use std::sync::PoisonError;

use likewise_kernels::view::MatRef;

use super::batch_plan::MAX_TOKENS_PER_BATCH;
use super::model::Embedder;
use super::tokenization::TokenizedIds;
use crate::batch::Batch;
use crate::encoder::Workspace;
use crate::error::{Error, Result};
use crate::parallel::TeamMember;
use crate::trace::{NullObserver, Observer};

impl Embedder {
    /// Concatenates the ids of texts to a batch.
    pub(super) fn batch<'a>(&self, texts: impl IntoIterator<Item = &'a TokenizedIds>) -> Batch {
        let positions = self.encoder.spec().embeddings.position_ids;
        Batch::new(texts.into_iter().map(|text| text.ids.as_slice()), positions)
    }

    /// Runs one pass on this thread and gives the token vectors `[T, D]` to `consume`.
    pub(super) fn run_single<O: Observer>(&self, batch: &Batch, observer: &mut O, consume: impl FnOnce(MatRef<'_>)) {
        self.with_workspace(batch, |workspace| {
            TeamMember::solo(workspace, |member, workspace| {
                let output = self.encoder.forward(member, batch, workspace, observer);
                workspace.read_stream(member, output, consume);
            });
        });
    }

    /// Runs one pass on a team of all threads and gives the token vectors `[T, D]` to `consume`.
    pub(super) fn run_team(&self, batch: &Batch, consume: impl FnOnce(MatRef<'_>)) {
        self.with_workspace(batch, |workspace| {
            let output = self
                .thread_pool
                .team(workspace, |member, workspace| self.encoder.forward(member, batch, workspace, &mut NullObserver));
            // The team has ended. Only a member of the team that a matrix is bound to may read it,
            // so a team of one reads the result.
            TeamMember::solo(workspace, |member, workspace| workspace.read_stream(member, output, consume));
        });
    }

    /// Pools the token vectors `[T, D]` of a batch to one vector a text, `pooled` `[S, W]`.
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

    /// Calls `pass` with the workspace of an earlier pass, or with a new one.
    fn with_workspace(&self, batch: &Batch, pass: impl FnOnce(&mut Workspace)) {
        let lock = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = lock().pop();
        let mut workspace = reused.unwrap_or_else(|| Workspace::new(self.encoder.spec(), self.precision));
        workspace.resize(batch.tokens());
        pass(&mut workspace);
        // Many callers at once, or a trace, may need more or larger workspaces than the embedder
        // keeps.
        let mut kept = lock();
        if kept.len() < self.thread_pool.size() && workspace.capacity_tokens() <= self.max_batch_tokens() {
            kept.push(workspace);
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
