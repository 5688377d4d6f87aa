//! Encoding in stages, for a server that mixes the texts of many requests in one batch: tokenize,
//! run a batch, score.

use std::sync::Arc;

use super::encode::EncodedText;
use super::max_sim::{PackedQuery, Scratch};
use super::model::MultiVectorEncoder;
use super::results::TokenRows;
use super::role::Role;
use crate::backbone::{Runtime, TokenizedText, prepend_prompt};
use crate::embedder::EncodeOptions;
use crate::error::{Error, Result};
use crate::tokenizer::{TokenSpan, TokenUsage, TruncationSide};

/// A tokenized text, ready for a batch.
pub(crate) struct EncodedTokenText {
    encoded: EncodedText,
    /// The query whose score with this text is computed, instead of the text's vectors.
    query: Option<Arc<PackedQuery>>,
}

impl EncodedTokenText {
    /// Returns the number of tokens in the batch.
    pub(crate) fn token_count(&self) -> usize {
        self.encoded.text.ids.len()
    }

    /// Returns the number of vectors.
    pub(crate) fn vector_count(&self) -> usize {
        self.encoded.scored.len()
    }

    /// Returns how many tokens of the text are used, without those that expand a query.
    pub(crate) fn usage(&self) -> TokenUsage {
        self.encoded.text.usage
    }
}

impl MultiVectorEncoder {
    /// Tokenizes a text. `text_index` is its index in the request, for errors.
    ///
    /// # Errors
    /// If the text cannot be tokenized, if it is too long and truncation is off, or if there is no
    /// prompt of this name.
    pub(crate) fn encode_text(
        &self,
        text_index: usize,
        text: &str,
        role: Role,
        options: &EncodeOptions,
    ) -> Result<EncodedTokenText> {
        let prompt = self.resolve_prompt(options.prompt_name.as_deref(), role)?;
        let max_tokens = self.settings(role).max_tokens;
        let text = prepend_prompt(prompt, text);
        let (ids, usage) = self.backbone.tokenizer().encode_up_to(max_tokens, &text, options.truncation_side)?;
        let truncation = options.truncation(self.backbone.truncation());
        let encoded = self.with_role(text_index, ids, usage, role, truncation)?;
        Ok(EncodedTokenText { encoded, query: None })
    }

    /// Takes the token ids of a document, with its marker and its special tokens.
    ///
    /// # Errors
    /// If they are too many and truncation is off, or if one is not in the embedding table.
    pub(crate) fn encode_ids(
        &self,
        text_index: usize,
        ids: &[u32],
        options: &EncodeOptions,
    ) -> Result<EncodedTokenText> {
        let role = Role::Document;
        let (kept, usage) = TruncationSide::cut(ids, self.settings(role).max_tokens, options.truncation_side);
        let truncation = options.truncation(self.backbone.truncation());
        let encoded = self.with_role(text_index, kept, usage, role, truncation)?;
        Ok(EncodedTokenText { encoded, query: None })
    }

    /// Runs one batch, by a team of all threads or by this thread. Returns for each text the
    /// elements `[n · width]` of the vectors of its scored tokens, row after row, or its score with
    /// a query.
    ///
    /// # Errors
    /// If a vector is not finite.
    pub(crate) fn run_batch(&self, texts: &[&EncodedTokenText], use_team: bool) -> Result<Vec<Vec<f32>>> {
        // The encoder takes no empty texts: they have no vectors.
        let indices: Vec<usize> = (0..texts.len()).filter(|&i| texts[i].token_count() > 0).collect();
        let of_batch: Vec<(&TokenizedText, &[usize])> =
            indices.iter().map(|&i| (&texts[i].encoded.text, texts[i].encoded.scored.as_slice())).collect();
        let elements = match of_batch.is_empty() {
            true => Vec::new(),
            false => self.encode_batch(&of_batch, |s| indices[s], use_team)?,
        };
        let mut rest = elements.as_slice();
        let mut scratch = Scratch::default();
        let row = |text: &&EncodedTokenText| {
            let (data, after) = rest.split_at(text.vector_count() * self.width);
            rest = after;
            match &text.query {
                None => Ok(data.to_vec()),
                Some(query) => Ok(vec![query.score(TokenRows { data, width: self.width }, &mut scratch)?]),
            }
        };
        texts.iter().map(row).collect()
    }

    /// Makes [`Self::run_batch`] score texts with a query, whose elements it returned before.
    pub(crate) fn score_with(&self, query: &[f32], texts: &mut [EncodedTokenText]) {
        let rows = TokenRows { data: query, width: self.width };
        let query = Arc::new(PackedQuery::new(self.level(), self.similarity, rows));
        texts.iter_mut().for_each(|text| text.query = Some(query.clone()));
    }

    /// Passes all tokens of a text and its prompt, untruncated, to `receive`, a list at a time:
    /// those of a document, or of a query if the prompt is `query`. `special` adds the special
    /// tokens.
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
        let prompt = self.resolve_prompt(prompt, Role::of_prompt(prompt))?;
        self.backbone.tokenizer().token_spans(&prepend_prompt(prompt, text), special, receive)
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.backbone
    }

    /// Returns the text of the prompt of this name, or without a name that of the role.
    fn resolve_prompt(&self, name: Option<&str>, role: Role) -> Result<&str> {
        self.backbone.resolve_prompt(name, &self.settings(role).prompt, &self.prompts)
    }
}

impl Role {
    /// Returns the role of the texts that a request gives this prompt.
    pub(crate) fn of_prompt(name: Option<&str>) -> Self {
        if name == Some("query") { Self::Query } else { Self::Document }
    }
}
