//! Sentences laid end to end.
//!
//! The usual batch is a rectangle: all sentences padded to the longest, and a mask to undo what the padding does. Here the
//! tokens of all sentences stand in one row, without padding, so there is no mask and no wasted work. Only attention
//! needs to know where one sentence ends and the next begins; everything else treats each token by itself.

use crate::encoder::families::Positions;

/// Tokens of several sentences: T in all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    ids: Vec<u32>,
    positions: Vec<usize>,
    /// Sentence s has the tokens `offsets[s]..offsets[s + 1]`.
    offsets: Vec<usize>,
}

impl Batch {
    /// Lays sentences end to end and numbers their tokens.
    ///
    /// # Panics
    /// If a sentence has no tokens: it would have no vector.
    pub(crate) fn new<'a>(sentences: impl IntoIterator<Item = &'a [u32]>, positions: Positions) -> Self {
        let mut batch = Self { offsets: vec![0], ..Self::default() };
        for ids in sentences {
            assert!(!ids.is_empty(), "a sentence of no tokens");
            batch.ids.extend_from_slice(ids);
            number(ids, positions, &mut batch.positions);
            batch.offsets.push(batch.ids.len());
        }
        batch
    }

    /// T.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The token ids `[T]`.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The rows of the table of positions `[T]`.
    pub(crate) fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Where each sentence starts, and T.
    pub(crate) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The tokens of sentence s.
    pub(crate) fn sentence(&self, s: usize) -> std::ops::Range<usize> {
        self.offsets[s]..self.offsets[s + 1]
    }
}

/// Numbers the tokens of one sentence.
fn number(ids: &[u32], positions: Positions, out: &mut Vec<usize>) {
    match positions {
        Positions::FromZero => out.extend(0..ids.len()),
        Positions::AfterPadding(padding) => {
            let mut next = padding as usize + 1;
            for &id in ids {
                if id == padding {
                    out.push(padding as usize);
                } else {
                    out.push(next);
                    next += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_numbered_by_themselves() {
        let batch = Batch::new([&[5, 6, 7][..], &[8][..]], Positions::FromZero);
        assert_eq!(batch.positions(), [0, 1, 2, 0]);
        assert_eq!(batch.offsets(), [0, 3, 4]);
        assert_eq!(batch.sentence(1), 3..4);
    }

    #[test]
    fn padding_in_the_text_is_not_counted() {
        let batch = Batch::new([&[0, 9, 1, 9, 2][..]], Positions::AfterPadding(1));
        assert_eq!(batch.positions(), [2, 3, 1, 4, 5]);
    }
}
