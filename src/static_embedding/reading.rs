//! Texts to the token ids whose rows count.

use crate::error::Result;
use crate::tokenizer::{TokenUsage, Tokenizer, Tokens, TruncationSide};

/// What Model2Vec does beside tokenizing. The default does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadingRules {
    /// The token that is left out.
    pub(super) left_out: Option<u32>,
    /// The number of characters that are tokenized at most.
    pub(super) max_characters: Option<usize>,
}

impl ReadingRules {
    /// Puts the ids of a text into `ids`. `side` overrides the side from which it is truncated.
    pub(super) fn read(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        side: Option<TruncationSide>,
        ids: &mut Vec<u32>,
    ) -> Result<TokenUsage> {
        ids.clear();
        let kept = self.kept_characters(text, side.unwrap_or(tokenizer.truncation_side()));
        tokenizer.append_ids(kept, ids)?;
        let all = self.count(ids);
        tokenizer.truncate_ids(ids, side);
        if let Some(left_out) = self.left_out {
            ids.retain(|&id| id != left_out);
        }
        let used = ids.len();
        if kept.len() == text.len() {
            return Ok(TokenUsage { total: all, used });
        }
        let mut whole = Vec::new();
        tokenizer.append_ids(text, &mut whole)?;
        // A cut may divide a word into more tokens than it has.
        Ok(TokenUsage { total: self.count(&whole).max(used + 1), used })
    }

    /// Returns the tokens of a text with their offsets.
    pub(super) fn tokens(&self, tokenizer: &Tokenizer, text: &str) -> Result<Tokens> {
        let usage = self.read(tokenizer, text, None, &mut Vec::new())?;
        let kept = self.kept_characters(text, tokenizer.truncation_side());
        let skipped = match tokenizer.truncation_side() {
            TruncationSide::Right => 0,
            TruncationSide::Left => text[..text.len() - kept.len()].chars().count(),
        };
        let mut tokens = tokenizer.tokenize(kept)?;
        let counted = tokens.ids.iter().zip(&tokens.offsets).filter(|(id, _)| Some(**id) != self.left_out);
        let counted = counted.map(|(&id, &(start, end))| (id, (start + skipped, end + skipped)));
        (tokens.ids, tokens.offsets) = counted.unzip();
        tokens.usage = usage;
        Ok(tokens)
    }

    /// Returns the number of tokens that are not left out.
    fn count(&self, ids: &[u32]) -> usize {
        match self.left_out {
            None => ids.len(),
            Some(left_out) => ids.iter().filter(|&&id| id != left_out).count(),
        }
    }

    /// Returns the part of a text that is tokenized.
    fn kept_characters<'t>(&self, text: &'t str, side: TruncationSide) -> &'t str {
        // A character has at least a byte.
        let Some(max) = self.max_characters.filter(|&max| max < text.len()) else { return text };
        match side {
            TruncationSide::Right => text.char_indices().nth(max).map_or(text, |(end, _)| &text[..end]),
            TruncationSide::Left if max == 0 => "",
            TruncationSide::Left => text.char_indices().rev().nth(max - 1).map_or(text, |(start, _)| &text[start..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_characters_from_either_side() {
        let kept = |text, max, side| {
            ReadingRules { left_out: None, max_characters: Some(max) }.kept_characters(text, side).to_owned()
        };
        for (max, right, left) in
            [(0, "", ""), (2, "aé", "🙂c"), (3, "aé🙂", "é🙂c"), (4, "aé🙂c", "aé🙂c"), (9, "aé🙂c", "aé🙂c")]
        {
            assert_eq!(kept("aé🙂c", max, TruncationSide::Right), right, "{max}");
            assert_eq!(kept("aé🙂c", max, TruncationSide::Left), left, "{max}");
        }
    }
}
