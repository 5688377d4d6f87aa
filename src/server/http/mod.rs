//! The HTTP layer: connections, middleware and routes.

mod activity;
pub(in crate::server) mod connection;
mod fallback;
mod keep_alive;
mod middleware;
pub(in crate::server) mod router;
