//! The embedder in pieces, for a server that mixes the texts of many requests in one pass.

use likewise_kernels::view::MatRef;

use super::{Embedder, EncodedIds, MIN_TOKENS_PER_THREAD, TruncationPolicy, prepend_prompt};
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
    pub(crate) prompt_name: Option<String>,
    /// Whether a text that is too long is cut, or refused.
    pub(crate) truncate: Option<bool>,
    /// From which side it is cut.
    pub(crate) truncation_side: Option<TruncationSide>,
}

/// A text that is ready for a pass.
pub(crate) struct EncodedText {
    encoded: EncodedIds,
    /// Whether the vectors of its tokens are wanted, not the one that they are pooled to.
    keep_token_vectors: bool,
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
    /// Makes a text ready. `text_index` is its place in the request, for messages; `keep_token_vectors` asks for the vectors of its tokens.
    ///
    /// # Errors
    /// If it cannot be tokenized, is too long and that is to be an error, or has an id that the model does not know.
    pub(crate) fn encode_input(
        &self,
        text_index: usize,
        input: &TextInput,
        options: &EncodeOptions,
        keep_token_vectors: bool,
    ) -> Result<EncodedText> {
        let truncation = match options.truncate {
            None => self.truncation,
            Some(true) => TruncationPolicy::Allow,
            Some(false) => TruncationPolicy::Error,
        };
        let encoded = match input {
            TextInput::Text(text) => {
                let prompt = self.resolve_prompt(options.prompt_name.as_deref())?;
                let encoded = self.encode_text(text_index, text, prompt, truncation, options.truncation_side)?;
                EncodedIds { excluded_tokens: self.prompt_tokens_excluded(prompt)?, ..encoded }
            }
            TextInput::Ids(ids) => {
                let used = ids.len().min(self.tokenizer.limit());
                let kept = match options.truncation_side {
                    None | Some(TruncationSide::Right) => &ids[..used],
                    Some(TruncationSide::Left) => &ids[ids.len() - used..],
                };
                self.validate_ids(text_index, kept.to_vec(), TokenUsage { total: ids.len(), used }, truncation)?
            }
        };
        Ok(EncodedText { encoded, keep_token_vectors })
    }

    /// All tokens of a text, with its prompt; with special ones around it if `special`.
    pub(crate) fn token_spans(&self, text: &str, prompt: Option<&str>, special: bool) -> Result<Vec<TokenSpan>> {
        self.tokenizer.pieces(&prepend_prompt(self.resolve_prompt(prompt)?, text), special)
    }

    /// The text that some ids stand for.
    pub(crate) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.tokenizer.decode(ids, skip_special)
    }

    /// The prompt of a name, or that of the embedder.
    fn resolve_prompt(&self, name: Option<&str>) -> Result<&str> {
        let Some(name) = name else { return Ok(&self.prompt) };
        self.prompts.get(name).map(String::as_str).ok_or_else(|| Error::Prompt {
            name: name.to_owned(),
            origin: self.name.clone(),
            known: self.prompts.keys().cloned().collect(),
        })
    }

    /// Whether a text that is too long is cut, if a request does not say.
    pub(crate) fn truncates_by_default(&self) -> bool {
        self.truncation == TruncationPolicy::Allow
    }

    /// Whether so few tokens are computed sooner by all threads use_team than by one alone.
    pub(crate) fn prefers_team(&self, tokens: usize) -> bool {
        self.thread_pool.size() > 1 && tokens < MIN_TOKENS_PER_THREAD * self.thread_pool.size()
    }

    /// One pass over some texts, by this thread or by all `use_team`. For each text its pooled vector `[P]`, before the
    /// modules after pooling, or the vectors of its tokens `[L, D]`.
    ///
    /// # Errors
    /// If a vector is not finite.
    pub(crate) fn run_batch(&self, texts: &[&EncodedText], use_team: bool) -> Result<Vec<Vec<f32>>> {
        let width = self.head.pooled_width();
        // A text without tokens keeps a vector of zeros (or none at all), and the encoder does not see it.
        let empty = |text: &&EncodedText| if text.keep_token_vectors { Vec::new() } else { vec![0.0; width] };
        let mut vectors: Vec<Vec<f32>> = texts.iter().map(empty).collect();
        let members: Vec<usize> = (0..texts.len()).filter(|&i| texts[i].tokens() > 0).collect();
        if members.is_empty() {
            return Ok(vectors);
        }
        let batch = self.batch(members.iter().map(|&i| &texts[i].encoded));
        let take = |tokens: MatRef<'_>| {
            for (s, &i) in members.iter().enumerate() {
                let rows = tokens.rows_in(batch.sentence(s));
                match texts[i].keep_token_vectors {
                    true => (0..rows.rows()).for_each(|t| vectors[i].extend_from_slice(rows.row(t))),
                    false => self.head.pool(rows, texts[i].encoded.excluded_tokens, &mut vectors[i]),
                }
            }
        };
        match use_team {
            true => self.run_team(&batch, take),
            false => self.run_single(&batch, &mut NullObserver, take),
        }
        match vectors.iter().position(|vector| vector.iter().any(|x| !x.is_finite())) {
            None => Ok(vectors),
            Some(text) => Err(self.encoder.find_bad_embedding(&batch).unwrap_or(Error::NotFinite { text })),
        }
    }

    /// Takes a pooled vector through the modules after pooling. `length_one` overrides whether it is normalized; of
    /// `dimensions` numbers, which are a vector of their own, the length is 1 if the model's whole vectors have it.
    pub(crate) fn apply_post_modules(
        &self,
        pooled: Vec<f32>,
        length_one: Option<bool>,
        dimensions: Option<usize>,
    ) -> Vec<f32> {
        let normalize =
            length_one.or_else(|| dimensions.map(|_| self.head.normalizes())).or(self.output_options.normalize);
        let mut vector = self.head.apply_post_modules(
            pooled,
            OutputOptions { dimensions: dimensions.or(self.output_options.dimensions), normalize },
        );
        // It may be kept for long.
        vector.shrink_to_fit();
        vector
    }

    /// Width of the vector of a token.
    pub(crate) fn token_width(&self) -> usize {
        self.encoder.blueprint().width
    }
}
