//! The vectors of tokens.

use crate::tokenizer::TokenUsage;

/// The vectors of the tokens of texts, in the order of the texts: those that are scored.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// let model = likewise::MultiVectorEncoder::open("path/to/colbertv2.0")?;
/// let documents = model.encode_documents(&["a text", "another text"])?;
/// for rows in documents.iter() {
///     assert_eq!(rows.as_slice().len(), rows.len() * documents.width());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TokenVectors {
    /// `[N, width]`.
    pub(super) data: Vec<f32>,
    pub(super) width: usize,
    /// Text i has the vectors `offsets[i]..offsets[i + 1]`: `[texts + 1]`.
    pub(super) offsets: Vec<usize>,
    /// The ids of the tokens `[N]`.
    pub(super) ids: Vec<u32>,
    pub(super) usage: Vec<TokenUsage>,
}

/// The vectors of the tokens of one text `[n, width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenRows<'a> {
    pub(super) data: &'a [f32],
    pub(super) width: usize,
}

impl TokenVectors {
    /// Returns the number of texts.
    pub fn len(&self) -> usize {
        self.usage.len()
    }

    /// Returns whether there are no texts.
    pub fn is_empty(&self) -> bool {
        self.usage.is_empty()
    }

    /// Returns the number of elements of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the vectors of text i.
    ///
    /// # Panics
    /// If i is not less than [`Self::len`].
    pub fn text(&self, i: usize) -> TokenRows<'_> {
        let [start, end] = [i, i + 1].map(|i| self.offsets[i] * self.width);
        TokenRows { data: &self.data[start..end], width: self.width }
    }

    /// Returns an iterator over the texts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = TokenRows<'_>> {
        (0..self.len()).map(|i| self.text(i))
    }

    /// Returns the elements of the vectors of all texts, row after row `[N · width]`.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// Returns the index of each text's first vector, and N: `[texts + 1]`.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Returns the ids of the tokens of all texts `[N]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the tokens used of each text, without those that expand a query.
    pub fn usage(&self) -> &[TokenUsage] {
        &self.usage
    }
}

impl TokenVectors {
    /// Makes the vectors of texts one after another, from the ids and the elements of each.
    pub(crate) fn of_texts<'a>(
        width: usize,
        texts: impl IntoIterator<Item = (&'a [u32], &'a [f32])>,
        usage: Vec<TokenUsage>,
    ) -> Self {
        let mut all = Self { data: Vec::new(), width, offsets: vec![0], ids: Vec::new(), usage };
        for (ids, elements) in texts {
            all.ids.extend_from_slice(ids);
            all.data.extend_from_slice(elements);
            all.offsets.push(all.ids.len());
        }
        all
    }
}

impl<'a> TokenRows<'a> {
    /// Divides elements into vectors. Returns None if `width` is 0 or does not divide their number.
    pub fn new(data: &'a [f32], width: usize) -> Option<Self> {
        (width > 0 && data.len().is_multiple_of(width)).then_some(Self { data, width })
    }

    /// Returns the number of vectors.
    pub fn len(self) -> usize {
        self.data.len() / self.width
    }

    /// Returns whether there are no vectors.
    pub fn is_empty(self) -> bool {
        self.data.is_empty()
    }

    /// Returns the number of elements of a vector.
    pub fn width(self) -> usize {
        self.width
    }

    /// Returns the elements, row after row.
    pub fn as_slice(self) -> &'a [f32] {
        self.data
    }

    /// Returns an iterator over the vectors.
    pub fn rows(self) -> std::slice::ChunksExact<'a, f32> {
        self.data.chunks_exact(self.width)
    }
}
