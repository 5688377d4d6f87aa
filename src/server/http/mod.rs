//! The HTTP layer: connections, middleware and routes.

pub(in crate::server) mod connection;
mod middleware;
pub(in crate::server) mod router;
mod write_timeout;

pub(in crate::server) use middleware::discard;
