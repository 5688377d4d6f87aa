//! Runs models for requests of any API.

pub(in crate::server) mod blocking;
pub(in crate::server) mod cache;
pub(in crate::server) mod models;
pub(in crate::server) mod queue;
pub(in crate::server) mod request;
