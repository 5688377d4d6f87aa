//! The request and response formats of the three APIs: Hugging Face, text-embeddings-inference and
//! OpenAI.

mod body_permits;
mod content_encoding;
pub(in crate::server) mod error;
mod fields;
pub(in crate::server) mod hugging_face;
pub(in crate::server) mod json_body;
mod known_keys;
pub(in crate::server) mod model_path;
pub(in crate::server) mod notes;
pub(in crate::server) mod openai;
pub(in crate::server) mod operations;
mod options;
mod response;
mod similarity;
pub(in crate::server) mod state;
mod surrogates;
pub(in crate::server) mod tei;
