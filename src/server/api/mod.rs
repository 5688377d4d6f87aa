//! The request and response formats of the three APIs.

pub(in crate::server) mod error;
pub(in crate::server) mod fields;
pub(in crate::server) mod hugging_face;
pub(in crate::server) mod json_body;
pub(in crate::server) mod openai;
pub(in crate::server) mod tei;
