//! The sparse encoder: an opened model and the threads that run it.

use std::collections::BTreeMap;
use std::fmt;

use super::results::SparseRow;
use super::route::Route;
use super::router::{RouteNames, Task};
use crate::embedder::Builder;
use crate::similarity::Similarity;

/// A model that computes a sparse vector for each text, open and ready to use.
///
/// Open one with [`SparseEncoder::open`], [`SparseEncoder::builder`] or, with the feature `hub`,
/// `SparseEncoder::from_hub`. The type is `Send` and `Sync`. All methods take `&self`, and any
/// number of threads may call them at once.
///
/// In every precision a vector has the same bits alone and in any batch, in any order, with any
/// number of threads, and on every level that has fused multiply-add.
///
/// ```no_run
/// # fn main() -> likewise::Result<()> {
/// let model = likewise::SparseEncoder::open("path/to/splade-v3")?;
/// let vectors = model.embed_documents(&["Berlin is known for its museums."])?;
/// let row = vectors.row(0);
/// assert_eq!(row.indices.len(), row.values.len());
/// # Ok(())
/// # }
/// ```
pub struct SparseEncoder {
    pub(super) name: String,
    pub(super) routes: Vec<Route>,
    /// The index of the route of each task, by [`Task::ALL`]. None if there is no route.
    pub(super) route_of_task: [Option<usize>; 3],
    /// The names of the routes, for errors. None if there is no router.
    pub(super) route_names: Option<RouteNames>,
    pub(super) similarity: Similarity,
    pub(super) max_active_dims: Option<usize>,
    /// The text that is put before texts without a task.
    pub(super) prompt: String,
    /// The texts of all prompts, by name.
    pub(super) prompts: BTreeMap<String, String>,
}

impl SparseEncoder {
    /// Returns the default settings, to be changed before a model is opened with
    /// [`Builder::open_sparse_encoder`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Keeps at most so many elements of a vector: those with the largest absolute values.
    #[must_use]
    pub fn with_max_active_dims(self, dimensions: usize) -> Self {
        Self { max_active_dims: Some(dimensions), ..self }
    }

    /// Returns the length of the vectors: the size of the vocabulary.
    pub fn dimension(&self) -> usize {
        self.routes.iter().map(Route::dimension).max().unwrap_or(0)
    }

    /// Returns the function that scores two vectors.
    pub fn similarity_function(&self) -> Similarity {
        self.similarity
    }

    /// Scores two vectors of this model by its similarity function. A higher score means more
    /// similar.
    pub fn score(&self, a: SparseRow<'_>, b: SparseRow<'_>) -> f32 {
        a.score(&b, self.similarity)
    }

    /// Returns the index of the route of a task, if there is one.
    pub(super) fn route(&self, task: Task) -> Option<usize> {
        let position = Task::ALL.iter().position(|other| *other == task)?;
        self.route_of_task[position]
    }

    /// Returns the index of the route of texts without a task, or else of queries or documents.
    pub(super) fn default_route(&self) -> usize {
        self.route_of_task.iter().flatten().next().copied().unwrap_or(0)
    }
}

impl fmt::Debug for SparseEncoder {
    /// Formats the settings. Weights, vocabulary and buffers are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SparseEncoder")
            .field("name", &self.name)
            .field("dimension", &self.dimension())
            .field("similarity", &self.similarity)
            .field("max_active_dims", &self.max_active_dims)
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}
