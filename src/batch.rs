//! A batch: the tokens of several texts, concatenated without padding.
//!
//! The usual batch is a rectangle: all texts padded to the longest, and a mask to undo what the
//! padding does. Here there is no mask and no wasted work. Only attention needs to know where one
//! text ends and the next begins; all other steps treat each token separately.

use std::ops::Range;

use crate::trace::TracedTokens;

/// Which row of the position table each token of a text reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PositionIds {
    /// 0, 1, 2, …
    Sequential,
    /// With the padding token's id p: p + 1, p + 2, … for tokens that are not padding. A padding
    /// token, which can occur as text, reads row p and is not counted.
    FromPaddingId(u32),
}

impl PositionIds {
    /// Returns the most tokens of a text, if the position table has so many rows.
    pub(crate) fn max_tokens(self, rows: usize) -> usize {
        rows.saturating_sub(self.first())
    }

    /// Returns the first token's row, unless it is padding.
    pub(crate) fn first(self) -> usize {
        match self {
            Self::Sequential => 0,
            Self::FromPaddingId(padding_id) => padding_id as usize + 1,
        }
    }

    /// Appends the rows for the tokens of one text.
    fn append(self, ids: &[u32], out: &mut Vec<usize>) {
        let mut next = self.first();
        for &id in ids {
            if self == Self::FromPaddingId(id) {
                out.push(id as usize);
            } else {
                out.push(next);
                next += 1;
            }
        }
    }
}

/// The tokens of S texts: T in all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// `[T]`.
    ids: Vec<u32>,
    /// `[T]`.
    positions: Vec<usize>,
    /// The type of each token `[T]`. Empty if all are 0.
    token_types: Vec<u32>,
    /// Text s has the tokens `text_bounds[s]..text_bounds[s + 1]`: `[S + 1]`.
    text_bounds: Vec<usize>,
    /// The number of tokens at the end of each text that no token attends to `[S]`. Empty if all
    /// are 0.
    unattended: Vec<usize>,
}

impl Batch {
    /// Concatenates texts and assigns the positions of their tokens. A text has its token ids and
    /// their types, which are empty if all are 0.
    ///
    /// # Panics
    /// If a text has no tokens: it would have no vector.
    pub(crate) fn new<'a>(texts: impl IntoIterator<Item = (&'a [u32], &'a [u32])>, position_ids: PositionIds) -> Self {
        let mut batch = Self { text_bounds: vec![0], ..Self::default() };
        for (ids, types) in texts {
            assert!(!ids.is_empty(), "a text of no tokens");
            assert!(types.is_empty() || types.len() == ids.len(), "types of {} of {} tokens", types.len(), ids.len());
            if types.iter().any(|&token_type| token_type != 0) {
                batch.token_types.resize(batch.ids.len(), 0);
                batch.token_types.extend_from_slice(types);
            }
            batch.ids.extend_from_slice(ids);
            position_ids.append(ids, &mut batch.positions);
            batch.text_bounds.push(batch.ids.len());
        }
        if !batch.token_types.is_empty() {
            batch.token_types.resize(batch.ids.len(), 0);
        }
        batch
    }

    /// Sets the number of tokens at the end of each text whose keys and values nothing reads, not
    /// even their own queries: expanded queries of late interaction have such tokens.
    ///
    /// # Panics
    /// If the numbers are not one for each text, or all tokens of a text are such.
    pub(crate) fn with_unattended(self, unattended: Vec<usize>) -> Self {
        assert_eq!(unattended.len() + 1, self.text_bounds.len(), "numbers of texts");
        let is_less = |(s, &count): (usize, &usize)| count < self.token_range(s).len();
        assert!(unattended.iter().enumerate().all(is_less), "a text without attended tokens");
        let any = unattended.iter().any(|&count| count > 0);
        Self { unattended: if any { unattended } else { Vec::new() }, ..self }
    }

    /// Returns T, the number of tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Returns the token ids `[T]`.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the type of token t.
    pub(crate) fn token_type(&self, t: usize) -> usize {
        self.token_types.get(t).map_or(0, |&token_type| token_type as usize)
    }

    /// Returns the rows of the position table `[T]`.
    pub(crate) fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Returns the index of each text's first token, and T: `[S + 1]`.
    pub(crate) fn text_bounds(&self) -> &[usize] {
        &self.text_bounds
    }

    /// Returns the number of tokens of the longest text.
    pub(crate) fn longest_text(&self) -> usize {
        self.text_bounds.windows(2).map(|bounds| bounds[1] - bounds[0]).max().unwrap_or(0)
    }

    /// Returns the number of tokens of text s that have keys and values: the first ones.
    pub(crate) fn attended_tokens(&self, s: usize) -> usize {
        self.token_range(s).len() - self.unattended.get(s).copied().unwrap_or(0)
    }

    /// Returns the tokens for a trace.
    pub(crate) fn traced_tokens(&self) -> TracedTokens {
        TracedTokens {
            ids: self.ids.clone(),
            positions: self.positions.clone(),
            types: (0..self.tokens()).map(|t| self.token_type(t)).collect(),
            counts: self.text_bounds.windows(2).map(|bounds| bounds[1] - bounds[0]).collect(),
        }
    }

    /// Returns the range of the tokens of text s.
    pub(crate) fn token_range(&self, s: usize) -> Range<usize> {
        self.text_bounds[s]..self.text_bounds[s + 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_restart_in_each_text() {
        let batch = Batch::new([(&[5, 6, 7][..], &[][..]), (&[8][..], &[][..])], PositionIds::Sequential);
        assert_eq!(batch.positions(), [0, 1, 2, 0]);
        assert_eq!(batch.text_bounds(), [0, 3, 4]);
        assert_eq!(batch.token_range(1), 3..4);
    }

    #[test]
    fn token_types_of_texts_without_any_are_zero() {
        let none: &[u32] = &[];
        let batch =
            Batch::new([(&[5, 6][..], none), (&[7, 8][..], &[0, 1]), (&[9][..], none)], PositionIds::Sequential);
        assert_eq!((0..5).map(|t| batch.token_type(t)).collect::<Vec<_>>(), [0, 0, 0, 1, 0]);
    }

    #[test]
    fn positions_with_padding_in_the_text_skip_it() {
        let batch = Batch::new([(&[0, 9, 1, 9, 2][..], &[][..])], PositionIds::FromPaddingId(1));
        assert_eq!(batch.positions(), [2, 3, 1, 4, 5]);
    }
}
