//! The embedder in pieces, for a server that mixes the texts of many requests in one pass.

use likewise_kernels::view::MatRef;

use super::{Embedder, Encoded, TOKENS_FOR_A_THREAD, TruncationPolicy, with_prompt};
use crate::error::{Error, Result};
use crate::modules::OutputOptions;
use crate::tokenizer::{TokenSpan, TokenUsage, TruncationSide};
use crate::trace::NullObserver;

/// A text as it comes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TextInput {
    Text(String),
    /// Token ids, special ones included, as the model is to read them.
    Ids(Vec<u32>),
}

/// How texts are read. None is what the embedder was opened with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct EncodeOptions {
    /// The name of the prompt that is put before a text.
    pub(crate) prompt: Option<String>,
    /// Whether a text that is too long is cut, or refused.
    pub(crate) truncate: Option<bool>,
    /// From which side it is cut.
    pub(crate) side: Option<TruncationSide>,
}

/// A text that is ready for a pass.
pub(crate) struct EncodedText {
    encoded: Encoded,
    /// Whether the vectors of its tokens are wanted, not the one that they are pooled to.
    of_tokens: bool,
}

impl EncodedText {
    /// Tokens that it takes in a pass.
    pub(crate) fn tokens(&self) -> usize {
        self.encoded.ids.len()
    }

    /// How much of it was read.
    pub(crate) fn usage(&self) -> TokenUsage {
        self.encoded.usage
    }
}

impl Embedder {
    /// Makes a text ready. `number` is its place in the request, for messages; `of_tokens` asks for the vectors of its tokens.
    ///
    /// # Errors
    /// If it cannot be tokenized, is too long and that is to be an error, or has an id that the model does not know.
    pub(crate) fn ready(
        &self,
        number: usize,
        input: &TextInput,
        reading: &EncodeOptions,
        of_tokens: bool,
    ) -> Result<EncodedText> {
        let truncation = match reading.truncate {
            None => self.truncation,
            Some(true) => TruncationPolicy::Allow,
            Some(false) => TruncationPolicy::Error,
        };
        let encoded = match input {
            TextInput::Text(text) => {
                let prompt = self.prompt_text(reading.prompt.as_deref())?;
                let encoded = self.encode_one(number, text, prompt, truncation, reading.side)?;
                Encoded { prompt: self.skipped(prompt)?, ..encoded }
            }
            TextInput::Ids(ids) => {
                let used = ids.len().min(self.tokenizer.limit());
                let kept = match reading.side {
                    None | Some(TruncationSide::Right) => &ids[..used],
                    Some(TruncationSide::Left) => &ids[ids.len() - used..],
                };
                self.checked(number, kept.to_vec(), TokenUsage { tokens: ids.len(), used }, truncation)?
            }
        };
        Ok(EncodedText { encoded, of_tokens })
    }

    /// All tokens of a text, with its prompt; with special ones around it if `special`.
    pub(crate) fn pieces(&self, text: &str, prompt: Option<&str>, special: bool) -> Result<Vec<TokenSpan>> {
        self.tokenizer.pieces(&with_prompt(self.prompt_text(prompt)?, text), special)
    }

    /// The text that some ids stand for.
    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.tokenizer.decode(ids, skip_special)
    }

    /// The prompt of a name, or that of the embedder.
    fn prompt_text(&self, name: Option<&str>) -> Result<&str> {
        let Some(name) = name else { return Ok(&self.prompt) };
        self.prompts.get(name).map(String::as_str).ok_or_else(|| Error::Prompt {
            name: name.to_owned(),
            origin: self.name.clone(),
            known: self.prompts.keys().cloned().collect(),
        })
    }

    /// Whether a text that is too long is cut, if a request does not say.
    pub(crate) fn truncates(&self) -> bool {
        self.truncation == TruncationPolicy::Allow
    }

    /// Whether so few tokens are computed sooner by all threads together than by one alone.
    pub(crate) fn is_few(&self, tokens: usize) -> bool {
        self.pool.size() > 1 && tokens < TOKENS_FOR_A_THREAD * self.pool.size()
    }

    /// One pass over some texts, by this thread or by all `together`. For each text its pooled vector `[P]`, before the
    /// modules after pooling, or the vectors of its tokens `[L, D]`.
    ///
    /// # Errors
    /// If a vector is not finite.
    pub(crate) fn pass(&self, texts: &[&EncodedText], together: bool) -> Result<Vec<Vec<f32>>> {
        let width = self.head.pooled_width();
        // A text without tokens keeps a vector of zeros (or none at all), and the encoder does not see it.
        let empty = |text: &&EncodedText| if text.of_tokens { Vec::new() } else { vec![0.0; width] };
        let mut vectors: Vec<Vec<f32>> = texts.iter().map(empty).collect();
        let members: Vec<usize> = (0..texts.len()).filter(|&i| texts[i].tokens() > 0).collect();
        if members.is_empty() {
            return Ok(vectors);
        }
        let batch = self.batch(members.iter().map(|&i| &texts[i].encoded));
        let take = |tokens: MatRef<'_>| {
            for (s, &i) in members.iter().enumerate() {
                let rows = tokens.rows_in(batch.sentence(s));
                match texts[i].of_tokens {
                    true => (0..rows.rows()).for_each(|t| vectors[i].extend_from_slice(rows.row(t))),
                    false => self.head.pool(rows, texts[i].encoded.prompt, &mut vectors[i]),
                }
            }
        };
        match together {
            true => self.pass_together(&batch, take),
            false => self.pass_alone(&batch, &mut NullObserver, take),
        }
        match vectors.iter().position(|vector| vector.iter().any(|x| !x.is_finite())) {
            None => Ok(vectors),
            Some(text) => Err(self.encoder.find_bad_embedding(&batch).unwrap_or(Error::NotFinite { text })),
        }
    }

    /// Takes a pooled vector through the modules after pooling. `length_one` overrides whether it is normalized; of
    /// `dimensions` numbers, which are a vector of their own, the length is 1 if the model's whole vectors have it.
    pub(crate) fn finish(&self, pooled: Vec<f32>, length_one: Option<bool>, dimensions: Option<usize>) -> Vec<f32> {
        let normalize = length_one.or_else(|| dimensions.map(|_| self.head.normalizes())).or(self.ending.normalize);
        let mut vector =
            self.head.finish(pooled, OutputOptions { dimensions: dimensions.or(self.ending.dimensions), normalize });
        // It may be kept for long.
        vector.shrink_to_fit();
        vector
    }

    /// Width of the vector of a token.
    pub(crate) fn token_width(&self) -> usize {
        self.encoder.spec().hidden_size
    }
}
