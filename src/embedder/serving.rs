//! The embedder in pieces, for a server that mixes the texts of many requests in one pass.

use likewise_kernels::view::MatRef;

use super::{Embedder, Encoded, OnLong, TOKENS_FOR_A_THREAD, TOKENS_PER_BATCH};
use crate::error::{Error, Result};
use crate::modules::normalize::normalize;
use crate::tokenize::Usage;
use crate::trace::Blind;

/// A text that is ready for a pass.
pub(crate) struct Ready(Encoded);

impl Ready {
    /// Tokens that it takes in a pass.
    pub(crate) fn tokens(&self) -> usize {
        self.0.ids.len()
    }

    /// How much of it was read.
    pub(crate) fn usage(&self) -> Usage {
        self.0.usage
    }
}

impl Embedder {
    /// Makes a text ready. `number` is its place in the request, for messages; `on_long` overrides what the embedder does with
    /// a text that is too long.
    ///
    /// # Errors
    /// If it cannot be tokenized, or is too long and that is to be an error.
    pub(crate) fn ready(
        &self,
        number: usize,
        text: &str,
        prompt: Option<&str>,
        on_long: Option<OnLong>,
    ) -> Result<Ready> {
        let prompt = match prompt {
            None => self.prompt.as_str(),
            Some(name) => self.prompts.get(name).ok_or_else(|| Error::Prompt {
                name: name.to_owned(),
                origin: self.name.clone(),
                known: self.prompts.keys().cloned().collect(),
            })?,
        };
        self.encode_one(number, text, prompt, on_long.unwrap_or(self.on_long)).map(Ready)
    }

    /// Tokens after which a pass is full.
    pub(crate) fn pass_tokens(&self) -> usize {
        TOKENS_PER_BATCH
    }

    /// Whether so few tokens are computed sooner by all threads together than by one alone.
    pub(crate) fn is_few(&self, tokens: usize) -> bool {
        self.pool.size() > 1 && tokens < TOKENS_FOR_A_THREAD * self.pool.size()
    }

    /// One pass over some texts, by this thread or by all `together`: their pooled vectors `[texts, D]`, before the modules
    /// after pooling.
    ///
    /// # Errors
    /// If a vector is not finite.
    pub(crate) fn pass(&self, texts: &[&Ready], together: bool) -> Result<Vec<f32>> {
        let width = self.width();
        // A text without tokens keeps a vector of zeros, and the encoder does not see it.
        let members: Vec<usize> = (0..texts.len()).filter(|&i| texts[i].tokens() > 0).collect();
        let mut vectors = vec![0.0; texts.len() * width];
        if members.is_empty() {
            return Ok(vectors);
        }
        let batch = self.batch(members.iter().map(|&i| &texts[i].0));
        let pool = |tokens: MatRef<'_>| {
            for (s, &i) in members.iter().enumerate() {
                self.head.pool(self.level, tokens.rows_in(batch.sentence(s)), &mut vectors[i * width..][..width]);
            }
        };
        match together {
            true => self.pass_together(&batch, pool),
            false => self.pass_alone(&batch, &mut Blind, pool),
        }
        self.check(&vectors, &(0..texts.len()).collect::<Vec<_>>(), &batch)?;
        Ok(vectors)
    }

    /// Takes a pooled vector through the modules after pooling; `length_one` overrides whether it is normalized.
    pub(crate) fn finish(&self, vector: &mut [f32], length_one: Option<bool>) {
        match length_one {
            None => self.head.finish(self.level, vector),
            Some(true) => normalize(self.level, vector),
            Some(false) => {}
        }
    }
}
