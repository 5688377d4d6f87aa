//! The HTTP layer: connections, middleware and routes.

pub(in crate::server) mod connection;
mod fallback;
mod middleware;
pub(in crate::server) mod router;
