//! Answers that were given before.
//!
//! What a model answers depends on the question alone, so an answer may be given again. The cache is bounded by the bytes
//! of questions and answers together; those that were asked for least are forgotten first.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as Inner;

use crate::embedder::TextInput;
use crate::server::inference::request::{InferenceRequest, InferenceResult};

/// A question to a model, the whole of it: a hash of it could be that of another.
type Key = (usize, Arc<InferenceRequest>);

/// The answers of all models.
pub(in crate::server) struct ResponseCache {
    inner: Inner<Key, Arc<InferenceResult>, ByteWeighter>,
}

impl ResponseCache {
    /// A cache of about so many bytes; None for 0.
    pub(in crate::server) fn of(bytes: usize) -> Option<Self> {
        // An estimate of how many there will be: a question with a sentence or two and its vector.
        const USUAL: usize = 2000;
        // Room for these is taken at once, for more when they come.
        const MOST: usize = 100_000;
        (bytes > 0)
            .then(|| Self { inner: Inner::with_weighter((bytes / USUAL).clamp(1, MOST), bytes as u64, ByteWeighter) })
    }

    /// The answer of a model, by its number, to a question.
    pub(in crate::server) fn get(&self, model: usize, ask: &Arc<InferenceRequest>) -> Option<Arc<InferenceResult>> {
        self.inner.get(&(model, ask.clone()))
    }

    /// Keeps an answer.
    pub(in crate::server) fn insert(&self, model: usize, ask: Arc<InferenceRequest>, answer: Arc<InferenceResult>) {
        self.inner.insert((model, ask), answer);
    }

    /// ByteWeighter in it.
    pub(in crate::server) fn bytes(&self) -> u64 {
        self.inner.weight()
    }
}

#[derive(Clone)]
struct ByteWeighter;

impl Weighter<Key, Arc<InferenceResult>> for ByteWeighter {
    fn weight(&self, (_, ask): &Key, answer: &Arc<InferenceResult>) -> u64 {
        // What is there besides the data: the two blocks, a vector's head for each text and row, an entry of the cache.
        const ENTRY: usize = 300;
        const PART: usize = 48;
        let input = |input: &TextInput| match input {
            TextInput::Text(text) => text.capacity() + PART,
            TextInput::Ids(ids) => ids.capacity() * 4 + PART,
        };
        let question: usize = ask.inputs.iter().map(input).sum();
        let rows: usize = answer.rows.iter().map(|row| row.capacity() * 4 + PART).sum();
        (ENTRY + question + rows + answer.usage.len() * 16) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedder::EncodeOptions;
    use crate::server::inference::request::OutputKind;

    fn ask(text: &str, want: OutputKind) -> Arc<InferenceRequest> {
        Arc::new(InferenceRequest {
            inputs: vec![TextInput::Text(text.into())],
            want,
            reading: EncodeOptions::default(),
        })
    }

    fn answer(x: f32) -> Arc<InferenceResult> {
        Arc::new(InferenceResult { rows: vec![vec![x; 1000]], usage: Vec::new() })
    }

    const PLAIN: OutputKind = OutputKind::Vectors { length_one: None, dimensions: None };

    #[test]
    fn an_answer_is_to_its_own_question() {
        let cache = ResponseCache::of(1 << 20).expect("a cache");
        cache.insert(0, ask("a", PLAIN), answer(1.0));
        assert_eq!(cache.get(0, &ask("a", PLAIN)).map(|answer| answer.rows[0][0]), Some(1.0));
        let others = [
            (1, ask("a", PLAIN)),
            (0, ask("b", PLAIN)),
            (0, ask("a", OutputKind::Scores)),
            (0, ask("a", OutputKind::Tokens)),
        ];
        let shorter = (0, ask("a", OutputKind::Vectors { length_one: None, dimensions: Some(3) }));
        for (model, other) in others.into_iter().chain([shorter]) {
            assert!(cache.get(model, &other).is_none(), "{model} {:?}", other.want);
        }
    }

    #[test]
    fn it_is_bounded() {
        assert!(ResponseCache::of(0).is_none());
        let limit = 1 << 20;
        let cache = ResponseCache::of(limit).expect("a cache");
        for i in 0..2000 {
            cache.insert(0, ask(&i.to_string(), PLAIN), answer(i as f32));
            assert!(cache.bytes() <= limit as u64, "{} bytes", cache.bytes());
        }
        assert!(cache.bytes() > limit as u64 / 2, "{} bytes", cache.bytes());
    }
}
