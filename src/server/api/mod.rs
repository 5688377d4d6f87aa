//! The request and response formats of the three APIs: Hugging Face, text-embeddings-inference and
//! OpenAI.

pub(in crate::server) mod error;
mod fields;
pub(in crate::server) mod hugging_face;
pub(in crate::server) mod json_body;
pub(in crate::server) mod openai;
pub(in crate::server) mod operations;
mod options;
mod response;
mod similarity;
pub(in crate::server) mod state;
pub(in crate::server) mod tei;
