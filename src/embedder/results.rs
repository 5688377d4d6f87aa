//! The results of an embedder.

use crate::tokenizer::TokenUsage;

/// Sentence vectors `[S, width]` of S texts, in the order of the texts.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// let model = likewise::Embedder::open("path/to/model")?;
/// let embeddings = model.embed(&["a text", "another text"])?;
/// for vector in &embeddings {
///     assert_eq!(vector.len(), model.width());
/// }
/// let elements: Vec<f32> = embeddings.into_vec();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    pub(super) data: Vec<f32>,
    pub(super) width: usize,
    pub(super) usage: Vec<TokenUsage>,
}

/// The scores of sentences against a source, in the order of the sentences.
///
/// Dereferences to the slice of scores.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scores {
    /// The scores. A higher score means more similar.
    pub values: Vec<f32>,
    /// The tokens used of the source.
    pub source: TokenUsage,
    /// The tokens used of each sentence.
    pub sentences: Vec<TokenUsage>,
}

impl Embeddings {
    /// Returns the number of vectors.
    pub fn len(&self) -> usize {
        self.usage.len()
    }

    /// Returns whether there are no vectors.
    pub fn is_empty(&self) -> bool {
        self.usage.is_empty()
    }

    /// Returns the number of elements of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the vector of text i `[width]`.
    ///
    /// # Panics
    /// If i is not less than [`Self::len`].
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.width..][..self.width]
    }

    /// Returns an iterator over the vectors.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.data.chunks_exact(self.width)
    }

    /// Returns the elements of all vectors, row after row `[S · width]`.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// Returns the elements of all vectors, row after row `[S · width]`, without a copy.
    pub fn into_vec(self) -> Vec<f32> {
        self.data
    }

    /// Returns the tokens used of each text.
    pub fn usage(&self) -> &[TokenUsage] {
        &self.usage
    }
}

impl<'a> IntoIterator for &'a Embeddings {
    type Item = &'a [f32];
    type IntoIter = std::slice::ChunksExact<'a, f32>;

    /// Returns an iterator over the vectors.
    fn into_iter(self) -> Self::IntoIter {
        self.rows()
    }
}

impl std::ops::Deref for Scores {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}
