//! Embedding in stages, for a server that mixes the texts of many requests in one batch: encode,
//! run a batch, apply the modules after pooling.

use super::model::Embedder;
use super::source::TokenVectors;
use crate::backbone::{TokenizedText, TruncationPolicy, prepend_prompt};
use crate::error::{Error, Result};
use crate::modules::OutputOptions;
use crate::static_embedding::StaticModel;
use crate::tokenizer::{TokenSpan, TokenUsage, TruncationSide};

/// The input of a request: a text or its token ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TextInput {
    Text(String),
    /// Token ids for the encoder, special ones included.
    Ids(Vec<u32>),
}

impl TextInput {
    /// Returns the token ids, or none of a text.
    pub(crate) fn ids(&self) -> &[u32] {
        if let Self::Ids(ids) = self { ids } else { &[] }
    }
}

/// Options of tokenization. None means the setting that the embedder was opened with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct EncodeOptions {
    /// The name of the prompt that is put before a text.
    pub(crate) prompt_name: Option<String>,
    /// Whether a text that is too long is truncated (true) or an error (false).
    pub(crate) truncate: Option<bool>,
    /// The side from which a text is truncated.
    pub(crate) truncation_side: Option<TruncationSide>,
}

impl EncodeOptions {
    /// Returns what happens to a text that is too long. `default` is the model's own setting.
    pub(crate) fn truncation(&self, default: TruncationPolicy) -> TruncationPolicy {
        match self.truncate {
            None => default,
            Some(true) => TruncationPolicy::Allow,
            Some(false) => TruncationPolicy::Error,
        }
    }
}

/// A tokenized text, ready for a batch.
pub(crate) struct EncodedText {
    encoded: TokenizedText,
    /// Whether the output is the vectors of all tokens instead of the pooled vector.
    keep_token_vectors: bool,
}

impl EncodedText {
    /// Returns the number of tokens in the batch.
    pub(crate) fn token_count(&self) -> usize {
        self.encoded.ids.len()
    }

    /// Returns how many tokens of the text are used.
    pub(crate) fn usage(&self) -> TokenUsage {
        self.encoded.usage
    }
}

impl Embedder {
    /// Tokenizes an input. `text_index` is its index in the request, for errors.
    ///
    /// # Errors
    /// - If the text cannot be tokenized.
    /// - If it is too long and truncation is off.
    /// - If an id is not in the embedding table.
    pub(crate) fn encode_input(
        &self,
        text_index: usize,
        input: &TextInput,
        options: &EncodeOptions,
        keep_token_vectors: bool,
    ) -> Result<EncodedText> {
        let truncation = options.truncation(self.runtime().truncation());
        let encoded = match input {
            TextInput::Text(text) => {
                let prompt = self.resolve_prompt(options.prompt_name.as_deref())?;
                let encoded = self.tokenize_text(text_index, text, prompt, truncation, options.truncation_side)?;
                TokenizedText { excluded_tokens: self.prompt_tokens_excluded(prompt)?, ..encoded }
            }
            TextInput::Ids(ids) => {
                let max_tokens = self.runtime().tokenizer().max_tokens();
                let (kept, usage) = TruncationSide::cut(ids, max_tokens, options.truncation_side);
                self.runtime().validate_ids(text_index, kept, usage, truncation)?
            }
        };
        Ok(EncodedText { encoded, keep_token_vectors })
    }

    /// Passes all tokens of a text and its prompt, untruncated, to `receive`, a list at a time.
    /// `special` adds the special tokens.
    ///
    /// # Errors
    /// If the text cannot be tokenized, or if `receive` fails.
    pub(crate) fn token_spans<E: From<Error>>(
        &self,
        text: &str,
        prompt: Option<&str>,
        special: bool,
        receive: impl FnMut(Vec<TokenSpan>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.runtime().tokenizer().token_spans(&prepend_prompt(self.resolve_prompt(prompt)?, text), special, receive)
    }

    /// Returns the text of the prompt of this name, or without a name the embedder's own.
    fn resolve_prompt(&self, name: Option<&str>) -> Result<&str> {
        self.runtime().resolve_prompt(name, &self.prompt, &self.prompts)
    }

    /// Runs one batch, by a team of all threads or by this thread.
    ///
    /// Returns for each text the pooled vector `[W]`, before the modules after pooling, or the
    /// elements `[L·D]` of its token vectors, row after row.
    ///
    /// # Errors
    /// If a vector is not finite.
    pub(crate) fn run_batch(&self, texts: &[&EncodedText], use_team: bool) -> Result<Vec<Vec<f32>>> {
        let backbone = match &self.token_vectors {
            TokenVectors::Encoder(backbone) => backbone,
            TokenVectors::Table(model) => return run_table(model, texts),
        };
        let width = self.head.pooled_width();
        // The encoder takes no empty texts: a text without tokens keeps a vector of zeros, or
        // no token vectors.
        let empty = |text: &&EncodedText| if text.keep_token_vectors { Vec::new() } else { vec![0.0; width] };
        let mut vectors: Vec<Vec<f32>> = texts.iter().map(empty).collect();
        let text_indices: Vec<usize> = (0..texts.len()).filter(|&i| texts[i].token_count() > 0).collect();
        if text_indices.is_empty() {
            return Ok(vectors);
        }
        let batch = backbone.batch(text_indices.iter().map(|&i| &texts[i].encoded));
        if text_indices.iter().all(|&i| !texts[i].keep_token_vectors) {
            let encoded: Vec<_> = text_indices.iter().map(|&i| &texts[i].encoded).collect();
            let collect = |s: usize, vector: &[f32]| vectors[text_indices[s]].copy_from_slice(vector);
            self.head.run(backbone, &encoded, &batch, use_team, collect);
        } else {
            backbone.run(&batch, None, use_team, |tokens| {
                for (s, &i) in text_indices.iter().enumerate() {
                    let rows = tokens.rows_in(batch.token_range(s));
                    if texts[i].keep_token_vectors {
                        (0..rows.rows()).for_each(|t| vectors[i].extend_from_slice(rows.row(t)));
                    } else {
                        self.head.pool(rows, texts[i].encoded.excluded_tokens, &mut vectors[i]);
                    }
                }
            });
        }
        match vectors.iter().position(|vector| vector.iter().any(|x| !x.is_finite())) {
            None => Ok(vectors),
            Some(text) => Err(backbone.not_finite(text, &batch)),
        }
    }

    /// Applies the modules after pooling to a pooled vector `[W]`.
    ///
    /// `normalize` overrides whether the vector is scaled to length 1. `dimensions` keeps the first
    /// elements. They are then scaled to length 1 if the model normalizes its whole vectors.
    pub(crate) fn apply_post_modules(
        &self,
        pooled: Vec<f32>,
        normalize: Option<bool>,
        dimensions: Option<usize>,
    ) -> Vec<f32> {
        let normalize =
            normalize.or_else(|| dimensions.map(|_| self.head.ends_with_normalize())).or(self.output_options.normalize);
        let dimensions = dimensions.or(self.output_options.dimensions);
        let mut vector = self.head.apply_post_modules(pooled, OutputOptions { dimensions, normalize });
        // The response cache may keep the vector for long.
        vector.shrink_to_fit();
        vector
    }

    /// Returns the width of a token vector, D.
    pub(crate) fn token_width(&self) -> usize {
        self.token_vectors.width()
    }
}

/// Returns for each text the mean of its tokens' vectors `[D]`, or the vectors `[L·D]`.
///
/// # Errors
/// If a vector is not finite.
fn run_table(model: &StaticModel, texts: &[&EncodedText]) -> Result<Vec<Vec<f32>>> {
    let run = |(i, text): (usize, &&EncodedText)| {
        let ids = &text.encoded.ids;
        let vectors = if text.keep_token_vectors {
            model.rows_of(ids)
        } else {
            let mut mean = vec![0.0; model.table().width()];
            model.mean_of(ids, &mut mean);
            mean
        };
        if vectors.iter().all(|x| x.is_finite()) { Ok(vectors) } else { Err(model.not_finite(i, ids)) }
    };
    texts.iter().enumerate().map(run).collect()
}
