//! Responses that were computed before.
//!
//! A model's response depends on the request alone, so the same request may get it again. The cache
//! is bounded by the bytes of requests and results together, and evicts the entries that are used
//! least.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::request::{InferenceRequest, InferenceResult};

/// The model's index and the whole request: two requests may have the same hash.
type Key = (usize, InferenceRequest);

/// The results of all models.
pub(super) struct ResponseCache {
    entries: Cache<Key, Arc<InferenceResult>, ByteWeighter>,
}

impl ResponseCache {
    /// Creates a cache of about this many bytes; returns `None` for 0.
    pub(super) fn with_capacity(bytes: usize) -> Option<Self> {
        /// The size of a typical entry: a sentence or two and a vector. It serves to estimate the
        /// number of entries.
        const TYPICAL_ENTRY_BYTES: usize = 2000;
        /// Memory for this many entries is allocated at once, and for more as they arrive.
        const MAX_INITIAL_ENTRIES: usize = 100_000;
        let entries = (bytes / TYPICAL_ENTRY_BYTES).clamp(1, MAX_INITIAL_ENTRIES);
        (bytes > 0).then(|| Self { entries: Cache::with_weighter(entries, bytes as u64, ByteWeighter) })
    }

    /// Returns the result of a request to the model with this index.
    pub(super) fn get(&self, model: usize, request: &InferenceRequest) -> Option<Arc<InferenceResult>> {
        self.entries.get(&(model, request.clone()))
    }

    /// Stores a result.
    pub(super) fn insert(&self, model: usize, request: InferenceRequest, result: Arc<InferenceResult>) {
        self.entries.insert((model, request), result);
    }

    /// The bytes that the entries take.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

/// Weighs an entry by the bytes that it takes.
#[derive(Clone)]
struct ByteWeighter;

impl Weighter<Key, Arc<InferenceResult>> for ByteWeighter {
    fn weight(&self, (_, request): &Key, result: &Arc<InferenceResult>) -> u64 {
        /// The two allocations and the entry in the cache's table.
        const ENTRY_OVERHEAD_BYTES: usize = 300;
        /// The header of the vector that holds a text or a row, and its allocation.
        const VECTOR_OVERHEAD_BYTES: usize = 48;
        let inputs = request.memory(VECTOR_OVERHEAD_BYTES);
        let vector = |capacity: usize| capacity * 4 + VECTOR_OVERHEAD_BYTES;
        let rows: usize = result.rows.iter().map(|row| vector(row.capacity())).sum();
        let indices: usize = result.indices.iter().map(|row| vector(row.capacity())).sum();
        (ENTRY_OVERHEAD_BYTES + inputs + rows + indices + result.usage.len() * 16) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{EmbeddingJob, OutputKind, ScoredInputs, ScoringJob};
    use super::*;
    use crate::cross_encoder::ScoreFunction;
    use crate::embedder::{EncodeOptions, TextInput};

    fn request(text: &str, output: OutputKind) -> InferenceRequest {
        let inputs = vec![TextInput::Text(text.into())];
        EmbeddingJob { inputs, output, encode: EncodeOptions::default() }.into()
    }

    fn ranking(query: &str, texts: &[&str], function: ScoreFunction) -> InferenceRequest {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        let inputs = ScoredInputs::Ranking { query: query.to_owned(), texts };
        ScoringJob { inputs, function, encode: EncodeOptions::default() }.into()
    }

    fn result(x: f32) -> Arc<InferenceResult> {
        Arc::new(InferenceResult { rows: vec![vec![x; 1000]], indices: Vec::new(), usage: Vec::new() })
    }

    const EMBEDDINGS: OutputKind = OutputKind::Embeddings { normalize: None, dimensions: None };

    #[test]
    fn cache_returns_the_result_of_the_same_request_only() {
        let cache = ResponseCache::with_capacity(1 << 20).expect("a cache");
        cache.insert(0, request("a", EMBEDDINGS), result(1.0));
        assert_eq!(cache.get(0, &request("a", EMBEDDINGS)).map(|result| result.rows[0][0]), Some(1.0));
        let shorter = OutputKind::Embeddings { normalize: None, dimensions: Some(3) };
        for (model, other) in [
            (1, request("a", EMBEDDINGS)),
            (0, request("b", EMBEDDINGS)),
            (0, request("a", OutputKind::Scores)),
            (0, request("a", OutputKind::TokenEmbeddings)),
            (0, request("a", shorter)),
        ] {
            assert!(cache.get(model, &other).is_none(), "{model} {other:?}");
        }
    }

    #[test]
    fn cache_distinguishes_the_query_the_texts_and_the_function() {
        let cache = ResponseCache::with_capacity(1 << 20).expect("a cache");
        cache.insert(0, ranking("a", &["b", "c"], ScoreFunction::Sigmoid), result(1.0));
        assert!(cache.get(0, &ranking("a", &["b", "c"], ScoreFunction::Sigmoid)).is_some());
        for other in [
            ranking("b", &["a", "c"], ScoreFunction::Sigmoid),
            ranking("a", &["c", "b"], ScoreFunction::Sigmoid),
            ranking("a", &["b", "c"], ScoreFunction::Identity),
        ] {
            assert!(cache.get(0, &other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn cache_never_exceeds_its_capacity() {
        assert!(ResponseCache::with_capacity(0).is_none());
        let limit = 1 << 20;
        let cache = ResponseCache::with_capacity(limit).expect("a cache");
        for i in 0..2000 {
            cache.insert(0, request(&i.to_string(), EMBEDDINGS), result(i as f32));
            assert!(cache.bytes() <= limit as u64, "{} bytes", cache.bytes());
        }
        assert!(cache.bytes() > limit as u64 / 2, "{} bytes", cache.bytes());
    }
}
