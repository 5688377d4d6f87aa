//! Runs models: admission, the response cache, tokenization, batching and the models themselves.
//!
//! Nothing here depends on HTTP. [`service::InferenceService`] is what the API handlers call.

pub(in crate::server) mod batch_model;
pub(in crate::server) mod blocking;
mod cache;
pub(in crate::server) mod embedding;
pub(in crate::server) mod engine;
pub(in crate::server) mod error;
pub(in crate::server) mod job;
mod late_interaction;
pub(in crate::server) mod models;
mod queue;
pub(in crate::server) mod request;
mod scoring;
pub(in crate::server) mod service;
mod sparse;
