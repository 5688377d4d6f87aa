//! The request and response formats of the APIs: Hugging Face, text-embeddings-inference, OpenAI,
//! and Cohere for rankings.

mod body_permits;
mod content_encoding;
pub(in crate::server) mod error;
pub(in crate::server) mod explain;
mod fields;
pub(in crate::server) mod hugging_face;
pub(in crate::server) mod json_body;
mod known_keys;
pub(in crate::server) mod model_path;
pub(in crate::server) mod notes;
pub(in crate::server) mod openai;
pub(in crate::server) mod operations;
mod options;
pub(in crate::server) mod predict;
pub(in crate::server) mod rerank;
mod response;
mod scores;
mod similarity;
pub(in crate::server) mod sparse;
pub(in crate::server) mod state;
mod surrogates;
pub(in crate::server) mod tei;
