//! How queries and documents become tokens.

use crate::backbone::PreparedBackbone;
use crate::error::{Error, Result};
use crate::tokenizer::{QueryExpansion, TextLengths};

/// Whether a text is searched with or searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Query,
    Document,
}

/// How texts of one role become tokens.
#[derive(Clone, Debug)]
pub(super) struct RoleSettings {
    /// The text that is put before every text.
    pub(super) prompt: String,
    /// The maximum number of tokens of a text, special ones included.
    pub(super) max_tokens: usize,
    /// The tokens that are put after shorter texts.
    pub(super) expansion: Option<Expansion>,
}

/// See [`QueryExpansion`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Expansion {
    pub(super) id: u32,
    pub(super) length: usize,
    pub(super) attend: bool,
}

impl RoleSettings {
    /// Returns the settings of queries. `requested` is the maximum length that the caller set.
    ///
    /// # Errors
    /// If the expansion has a token that is not in the vocabulary, or is longer than the model's
    /// positions or the queries.
    pub(super) fn of_queries(
        prepared: &PreparedBackbone,
        prompt: String,
        lengths: TextLengths,
        requested: Option<usize>,
    ) -> Result<Self> {
        let positions = prepared.spec().max_tokens;
        let ceiling = requested.or(lengths.query.clone().value().map(|length| length.min(positions)));
        let max_tokens = ceiling.unwrap_or(prepared.tokenizer().max_tokens());
        let Some(expansion) = lengths.expansion.value() else {
            return Ok(Self { prompt, max_tokens, expansion: None });
        };
        let QueryExpansion { length, is_fixed, attend, .. } = expansion;
        if length > positions {
            let expected = format!("at most {positions}, the positions of the model");
            return Err(expansion.invalid("length", expected, length.to_string()));
        }
        if let Some(query) = lengths.query.value().filter(|&query| query < length) {
            let expected = format!("at most {query}, the query_length");
            return Err(expansion.invalid("length", expected, length.to_string()));
        }
        let max_tokens = match ceiling {
            _ if is_fixed => length,
            Some(ceiling) => ceiling.max(length),
            None => max_tokens,
        };
        let id = expansion_id(prepared, &expansion)?;
        Ok(Self { prompt, max_tokens, expansion: Some(Expansion { id, length, attend }) })
    }

    /// Returns the settings of documents. `requested` is the maximum length that the caller set.
    pub(super) fn of_documents(
        prepared: &PreparedBackbone,
        prompt: String,
        lengths: &TextLengths,
        requested: Option<usize>,
    ) -> Self {
        let length = lengths.document.clone().value().map(|length| length.min(prepared.spec().max_tokens));
        let max_tokens = requested.or(length).unwrap_or(prepared.tokenizer().max_tokens());
        Self { prompt, max_tokens, expansion: None }
    }
}

/// Returns the id of the token that expands queries.
fn expansion_id(prepared: &PreparedBackbone, expansion: &QueryExpansion) -> Result<u32> {
    let tokenizer = prepared.tokenizer();
    let token = expansion.token.as_deref().or(tokenizer.expansion_token());
    let Some(token) = token else {
        let expected = "a token: the tokenizer has neither a mask token nor one at the end of texts";
        return Err(expansion.invalid("token", expected, "nothing"));
    };
    let id = tokenizer
        .token_id(token)
        .ok_or_else(|| expansion.invalid("token", "a token of the vocabulary", format!("{token:?}")))?;
    let vocabulary = prepared.spec().embeddings.tokens.rows;
    if id as usize >= vocabulary {
        return Err(Error::TokenId { file: tokenizer.label().to_owned(), id, vocabulary });
    }
    Ok(id)
}
