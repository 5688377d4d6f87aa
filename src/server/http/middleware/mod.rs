//! Middleware: what happens to every request before its handler, and to every response after it.

pub(super) mod auth;
pub(super) mod cors;
pub(super) mod normalize_path;
pub(super) mod request_log;
pub(super) mod request_timeout;
