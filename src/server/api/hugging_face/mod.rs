//! The Hugging Face Inference API: sentence similarity, feature extraction, text ranking and text
//! classification by POST, on any of its paths.
//!
//! | path | meaning |
//! |---|---|
//! | `/` | the default model; the body and the model's kind select the task |
//! | `/models/{id}` | a model; the body and the model's kind select the task |
//! | `/models/{id}/pipeline/{task}` | a model and a task |
//! | `/pipeline/{task}/{id}` | the same, in the spelling of older clients |
//!
//! Newer clients use the same paths below `/hf-inference`.

mod classification;
pub(in crate::server) mod metadata;
pub(in crate::server) mod pipeline;
mod request;
