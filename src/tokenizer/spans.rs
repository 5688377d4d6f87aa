//! All tokens of a text, with the part of the text that became each of them.

use super::Tokenizer;
use super::tokens::TokenSpan;
use crate::error::Result;

/// The special tokens around a text.
#[derive(Default)]
struct SpecialTokens {
    before: Vec<TokenSpan>,
    after: Vec<TokenSpan>,
}

impl Tokenizer {
    /// Passes all tokens of a text to `receive`, a list for each chunk, without truncation.
    ///
    /// # Errors
    /// If the text cannot be tokenized, or if `receive` fails.
    pub(crate) fn token_spans<E: From<crate::Error>>(
        &self,
        text: &str,
        add_special_tokens: bool,
        mut receive: impl FnMut(Vec<TokenSpan>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let special = if !add_special_tokens {
            Some(SpecialTokens::default())
        } else if self.chunker.is_long(text) {
            self.special_tokens_around()?
        } else {
            None
        };
        let Some(special) = special else { return receive(self.spans_of(text, add_special_tokens)?) };
        receive(special.before)?;
        // The characters before the chunk, and the last of them.
        let mut offset = 0;
        let mut last: Option<char> = None;
        for chunk in self.chunker.chunks(&self.inner, text, true) {
            receive(match last {
                None => self.spans_of(chunk, false)?,
                Some(last) => self.spans_after(last, chunk, offset)?,
            })?;
            offset += chunk.chars().count();
            last = chunk.chars().next_back();
        }
        receive(special.after)
    }

    /// Returns the tokens of a chunk that follows a character.
    ///
    /// Post-processors treat the first space of a text in a special way, so the chunk is tokenized
    /// with the character before it. A boundary changes no token, so the first tokens are those of
    /// the character alone.
    fn spans_after(&self, last: char, chunk: &str, offset: usize) -> Result<Vec<TokenSpan>> {
        let mut spans = self.spans_of(&format!("{last}{chunk}"), false)?;
        let count = self.spans_of(last.encode_utf8(&mut [0; 4]), false)?.len();
        spans.drain(..count.min(spans.len()));
        for span in &mut spans {
            span.span = span.span.map(|(start, end)| (start + offset - 1, end + offset - 1));
        }
        Ok(spans)
    }

    /// Returns the special tokens around every text, or None if they cannot be distinguished from
    /// its tokens.
    fn special_tokens_around(&self) -> Result<Option<SpecialTokens>> {
        let mut before = self.spans_of("a", true)?;
        let Some(start) = before.iter().position(|token| token.span.is_some()) else { return Ok(None) };
        let text_and_after = before.split_off(start);
        let after = text_and_after.into_iter().skip_while(|token| token.span.is_some()).collect();
        Ok(Some(SpecialTokens { before, after }))
    }

    fn spans_of(&self, text: &str, add_special_tokens: bool) -> Result<Vec<TokenSpan>> {
        let encoding = self.run(text, || self.inner.encode_char_offsets(text, add_special_tokens))?;
        // The byte offset of each character, so that a span is found without counting from the
        // start.
        let byte_offsets: Vec<usize> = text.char_indices().map(|(offset, _)| offset).chain([text.len()]).collect();
        let token_span = |i: usize| {
            let id = encoding.get_ids()[i];
            if encoding.get_special_tokens_mask()[i] == 1 {
                return TokenSpan { id, text: encoding.get_tokens()[i].clone(), span: None };
            }
            let (start, end) = encoding.get_offsets()[i];
            let text = text[byte_offsets[start]..byte_offsets[end]].to_owned();
            TokenSpan { id, text, span: Some((start, end)) }
        };
        Ok((0..encoding.len()).map(token_span).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::tokenizer::chunking::TextChunker;
    use crate::tokenizer::{Inner, TruncationSide};

    const MPNET: &[u8] = include_bytes!("../../fixtures/models/tiny-mpnet/tokenizer.json");
    const XLM_R: &[u8] = include_bytes!("../../fixtures/models/tiny-xlm-roberta/tokenizer.json");

    /// Returns a tokenizer that splits texts into chunks of at least so many bytes.
    fn tokenizer(bytes: &[u8], chunk_bytes: Option<usize>) -> Tokenizer {
        let mut inner = Inner::from_bytes(bytes).expect("a tokenizer");
        inner.with_padding(None);
        inner.with_truncation(None).expect("no truncation");
        let whole = TextChunker::for_tokenizer(&inner);
        Tokenizer {
            inner,
            label: "tokenizer.json".to_owned(),
            max_tokens: 12,
            special_tokens: 2,
            special_ids: HashSet::new(),
            truncation_side: TruncationSide::Right,
            roles: Default::default(),
            text_lengths: Default::default(),
            passes_token_types: false,
            chunker: chunk_bytes.map_or(whole.clone(), |bytes| whole.with_chunk_bytes(bytes)),
            ascii_words: None,
            whole_text: Mutex::new(()),
        }
    }

    fn spans(tokenizer: &Tokenizer, text: &str, special: bool) -> Vec<TokenSpan> {
        let mut all = Vec::new();
        let received = tokenizer.token_spans::<crate::Error>(text, special, |spans| {
            all.extend(spans);
            Ok(())
        });
        received.expect("tokens");
        all
    }

    proptest! {
        #[test]
        fn tokens_of_chunks_are_those_of_the_whole_text(
            text in "([a-z0-9]{1,5}|[ \t\n]{1,3}|[.,!?:-]|今天|。|é|e\u{301}|😀|<mask>|</s>){0,40}",
            bytes in 1_usize..12,
        ) {
            for vocabulary in [MPNET, XLM_R] {
                let [whole, split] = [None, Some(bytes)].map(|bytes| tokenizer(vocabulary, bytes));
                for special in [false, true] {
                    prop_assert_eq!(spans(&split, &text, special), spans(&whole, &text, special));
                }
                for side in [TruncationSide::Left, TruncationSide::Right] {
                    let [whole, split] = [&whole, &split].map(|tokenizer| tokenizer.encode(&text, Some(side)).expect("ids"));
                    prop_assert_eq!(split, whole);
                }
                let [whole, split] = [&whole, &split].map(|tokenizer| tokenizer.tokenize(&text).expect("tokens"));
                prop_assert_eq!(split, whole);
            }
        }
    }
}
