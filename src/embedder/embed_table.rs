//! Embedding of texts by a table of token vectors.

use std::sync::{Mutex, PoisonError};

use super::model::Embedder;
use super::results::Embeddings;
use crate::backbone::TEXTS_PER_TASK;
use crate::error::Result;
use crate::static_embedding::{Buffers, StaticModel};
use crate::tokenizer::TokenUsage;

impl Embedder {
    /// Computes the vectors of texts. A task tokenizes some texts and adds up their rows, so that
    /// the tokens of a call never are in memory together.
    pub(super) fn embed_by_table<T: AsRef<str> + Sync>(
        &self,
        model: &StaticModel,
        texts: &[T],
        prompt: &str,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Embeddings> {
        let width = self.width();
        let mut data = vec![0.0; texts.len() * width];
        // Each task locks its own part, and only once.
        let parts: Vec<Mutex<&mut [f32]>> = data.chunks_mut(TEXTS_PER_TASK * width).map(Mutex::new).collect();
        let usage = self.runtime().thread_pool().map(parts.len(), |task| {
            let first = task * TEXTS_PER_TASK;
            let texts = &texts[first..texts.len().min(first + TEXTS_PER_TASK)];
            let mut out = parts[task].lock().unwrap_or_else(PoisonError::into_inner);
            let usage = self.embed_part(model, first, texts, prompt, &mut out)?;
            progress(texts.len());
            Ok(usage)
        });
        let usage: Vec<Vec<TokenUsage>> = usage.into_iter().collect::<Result<_>>()?;
        drop(parts);
        Ok(Embeddings { data, width, usage: usage.concat() })
    }

    /// Writes the vectors of some texts to `out` `[S, width]`. `first` is the index of the first
    /// text in the call, for errors.
    fn embed_part<T: AsRef<str>>(
        &self,
        model: &StaticModel,
        first: usize,
        texts: &[T],
        prompt: &str,
        out: &mut [f32],
    ) -> Result<Vec<TokenUsage>> {
        let truncation = self.runtime().truncation();
        let mut buffers = Buffers::default();
        let mut usage = Vec::with_capacity(texts.len());
        let mut pooled = vec![0.0; texts.len() * self.head.pooled_width()];
        for ((i, text), mean) in texts.iter().enumerate().zip(pooled.chunks_exact_mut(self.head.pooled_width())) {
            usage.push(model.read(first + i, text.as_ref(), prompt, truncation, None, &mut buffers)?);
            model.mean(&mut buffers, mean);
        }
        let vectors = self.head.apply_post_modules(pooled, self.output_options);
        if let Some(element) = vectors.iter().position(|x| !x.is_finite()) {
            let i = element / self.width();
            model.read(first + i, texts[i].as_ref(), prompt, truncation, None, &mut buffers)?;
            return Err(model.not_finite(first + i, &buffers.ids));
        }
        out.copy_from_slice(&vectors);
        Ok(usage)
    }
}
