//! Truncation of encoded texts.

use tokenizers::Encoding;

#[cfg(feature = "serve")]
use super::tokens::TokenUsage;

/// The side on which a text that is too long loses tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TruncationSide {
    /// The beginning of the text is kept.
    Right,
    /// The end of the text is kept.
    Left,
}

impl TruncationSide {
    /// Cuts the token ids of a text to a maximum length, by default on the right. All ids are
    /// alike: which of them are special is not known.
    #[cfg(feature = "serve")]
    pub(crate) fn cut(ids: &[u32], max_tokens: usize, side: Option<Self>) -> (Vec<u32>, TokenUsage) {
        let used = ids.len().min(max_tokens);
        let kept = match side {
            None | Some(Self::Right) => &ids[..used],
            Some(Self::Left) => &ids[ids.len() - used..],
        };
        (kept.to_vec(), TokenUsage { total: ids.len(), used })
    }
}

/// Truncates one property of an encoding's tokens (ids or offsets) to `max_tokens`.
///
/// The special tokens around the text are kept. `special_tokens` is their number.
pub(super) fn truncate<T: Copy>(
    values: &[T],
    encoding: &Encoding,
    max_tokens: usize,
    special_tokens: usize,
    side: TruncationSide,
) -> Vec<T> {
    if values.len() <= max_tokens {
        return values.to_vec();
    }
    let excess = values.len() - max_tokens;
    let is_special = encoding.get_special_tokens_mask();
    let before = is_special.iter().take_while(|&&mask| mask == 1).count();
    let after = is_special.iter().rev().take_while(|&&mask| mask == 1).count();
    let after = after.min(special_tokens.saturating_sub(before));
    let text = match side {
        TruncationSide::Right => before..values.len() - after - excess,
        TruncationSide::Left => before + excess..values.len() - after,
    };
    [&values[..before], &values[text], &values[values.len() - after..]].concat()
}
