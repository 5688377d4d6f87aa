//! A recorded result, packed or padded.

/// What the elements of a result are. Texts follow one another without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A row for each token `[T, width]`. The letter of the width.
    Tokens(&'static str),
    /// For each text the rows of one head after another `[H, L, d]`.
    Heads,
    /// For each text and head a row for each query and a column for each key `[H, L, L]`.
    HeadPairs,
    /// A row for each text `[S, width]`. The letter of the width.
    Texts(&'static str),
}

/// An intermediate result of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedTensor {
    pub(super) site: String,
    pub(super) layout: Layout,
    /// The elements of a row. Rows of [`Layout::HeadPairs`] are as long as their text.
    pub(super) width: usize,
    pub(super) data: Vec<f32>,
}

/// A result in the layout of a batch that is padded to its longest text.
pub(super) struct Padded {
    pub(super) letters: String,
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f32>,
}

impl TracedTensor {
    /// Returns the name of the site, such as `layer.0.query`.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Returns the elements, row after row and text after text, without padding.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// Returns the shape of the elements.
    ///
    /// Scores and probabilities have a matrix for each head of each text. Their sizes differ, so
    /// the shape has one dimension.
    pub fn shape(&self) -> Vec<usize> {
        match self.layout {
            Layout::HeadPairs => vec![self.data.len()],
            _ => vec![self.data.len() / self.width.max(1), self.width],
        }
    }

    /// Returns the letters of the shape, as docs/architecture.md defines them: `[T, D]` for a row
    /// of the residual stream for each token.
    pub fn letters(&self) -> String {
        match self.layout {
            Layout::Tokens(width) => format!("[T, {width}]"),
            Layout::Heads => "[H·L of each text, d]".to_owned(),
            Layout::HeadPairs => "[H·L·L of each text]".to_owned(),
            Layout::Texts(width) => format!("[S, {width}]"),
        }
    }

    /// Returns the result padded to the longest text, with zeros.
    pub(super) fn padded(&self, lengths: &[usize]) -> Padded {
        let texts = lengths.len();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let tokens: usize = lengths.iter().sum();
        let rows = self.data.len() / self.width.max(1);
        match self.layout {
            Layout::Texts(width) => {
                Padded { letters: format!("[B, {width}]"), shape: vec![texts, self.width], data: self.data.clone() }
            }
            Layout::Tokens(width) => Padded {
                letters: format!("[B, L, {width}]"),
                shape: vec![texts, longest, self.width],
                data: self.pad_rows(lengths, longest, 1),
            },
            Layout::Heads => {
                let heads = rows / tokens.max(1);
                Padded {
                    letters: "[B, H, L, d]".to_owned(),
                    shape: vec![texts, heads, longest, self.width],
                    data: self.pad_rows(lengths, longest, heads),
                }
            }
            Layout::HeadPairs => {
                let heads = self.data.len() / lengths.iter().map(|length| length * length).sum::<usize>().max(1);
                Padded {
                    letters: "[B, H, L, L]".to_owned(),
                    shape: vec![texts, heads, longest, longest],
                    data: self.pad_pairs(lengths, longest, heads),
                }
            }
        }
    }

    /// Pads the rows of each head of each text.
    fn pad_rows(&self, lengths: &[usize], longest: usize, heads: usize) -> Vec<f32> {
        let mut padded = Vec::with_capacity(lengths.len() * heads * longest * self.width);
        let mut rest = self.data.as_slice();
        for length in lengths {
            for _ in 0..heads {
                let (rows, after) = rest.split_at(length * self.width);
                padded.extend_from_slice(rows);
                padded.resize(padded.len() + (longest - length) * self.width, 0.0);
                rest = after;
            }
        }
        padded
    }

    /// Pads the rows and columns of each head's matrix of each text.
    fn pad_pairs(&self, lengths: &[usize], longest: usize, heads: usize) -> Vec<f32> {
        let mut padded = Vec::with_capacity(lengths.len() * heads * longest * longest);
        let mut rest = self.data.as_slice();
        for &length in lengths {
            for _ in 0..heads {
                let (matrix, after) = rest.split_at(length * length);
                for row in matrix.chunks_exact(length) {
                    padded.extend_from_slice(row);
                    padded.resize(padded.len() + longest - length, 0.0);
                }
                padded.resize(padded.len() + (longest - length) * longest, 0.0);
                rest = after;
            }
        }
        padded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(layout: Layout, width: usize, data: &[f32]) -> TracedTensor {
        TracedTensor { site: "a".to_owned(), layout, width, data: data.to_vec() }
    }

    #[test]
    fn rows_of_tokens_are_padded_text_by_text() {
        let padded = tensor(Layout::Tokens("D"), 2, &[1., 2., 3., 4., 5., 6.]).padded(&[1, 2]);
        assert_eq!((padded.letters.as_str(), padded.shape), ("[B, L, D]", vec![2, 2, 2]));
        assert_eq!(padded.data, [1., 2., 0., 0., 3., 4., 5., 6.]);
    }

    #[test]
    fn rows_of_heads_are_padded_head_by_head() {
        // Two heads of size 1: text 0 of one token, text 1 of two.
        let padded = tensor(Layout::Heads, 1, &[1., 2., 3., 4., 5., 6.]).padded(&[1, 2]);
        assert_eq!(padded.shape, [2, 2, 2, 1]);
        assert_eq!(padded.data, [1., 0., 2., 0., 3., 4., 5., 6.]);
    }

    #[test]
    fn pairs_of_tokens_are_padded_in_both_directions() {
        let padded = tensor(Layout::HeadPairs, 1, &[1., 2., 3., 4., 5.]).padded(&[1, 2]);
        assert_eq!(padded.shape, [2, 1, 2, 2]);
        assert_eq!(padded.data, [1., 0., 0., 0., 2., 3., 4., 5.]);
    }
}
