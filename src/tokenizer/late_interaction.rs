//! What models of late interaction need of a tokenizer: lengths of queries and documents, ids of
//! words, and markers before texts.

use tokenizers::AddedToken;

use super::Tokenizer;
use super::chunking::TextChunker;
use super::error::catch_tokenizer_panic;
use super::text_lengths::TextLengths;
use crate::error::{Error, Result};

impl Tokenizer {
    /// Returns the lengths of queries and documents in sentence_bert_config.json.
    pub(crate) fn text_lengths(&self) -> &TextLengths {
        &self.text_lengths
    }

    /// Returns the number of special tokens around a text.
    pub(crate) fn special_token_count(&self) -> usize {
        self.special_tokens
    }

    /// Returns the mask token, or without one the token at the end of a text.
    pub(crate) fn expansion_token(&self) -> Option<&str> {
        self.roles.get("mask_token").or(self.roles.get("eos_token"))
    }

    /// Returns the id of the token with a role, such as "eos_token", if there is one.
    pub(crate) fn id_of_role(&self, role: &str) -> Option<u32> {
        self.token_id(self.roles.get(role)?)
    }

    /// Returns the id of a token by its exact text.
    pub(crate) fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the vocabulary's text of a token id, if the vocabulary has the id.
    pub(crate) fn token_of_id(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Makes markers one token each, as training inserted them: `[unused0]` is otherwise split at
    /// its brackets, and an added `[Q] ` that is normalized is never found in lower-cased text.
    ///
    /// Of each text before queries or documents, that is the whole text if it is in the vocabulary,
    /// or otherwise its first word. A text that is not stays text.
    pub(crate) fn register_markers(&mut self, prefixes: &[&str]) -> Result<()> {
        let mut markers = Vec::new();
        for prefix in prefixes {
            let Some(word) = prefix.split_whitespace().next() else { continue };
            let mut known = [*prefix, word].into_iter().filter(|marker| self.token_id(marker).is_some());
            let Some(marker) = known.next() else { continue };
            let encoding = self.run(marker, || self.inner.encode_fast(marker, false))?;
            if encoding.get_tokens() != [marker.to_owned()] {
                markers.push(AddedToken::from(marker, true).normalized(false));
            }
        }
        if markers.is_empty() {
            return Ok(());
        }
        let failed = |source| Error::Tokenizer { file: self.label.clone(), what: "cannot add its markers", source };
        catch_tokenizer_panic(|| self.inner.add_special_tokens(markers)).map_err(failed)?;
        self.chunker = TextChunker::for_tokenizer(&self.inner);
        Ok(())
    }
}
