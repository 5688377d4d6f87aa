//! The blocks of an encoder, and the encoder.

pub(crate) mod attention;
pub(crate) mod embeddings;
pub(crate) mod encoder;
pub(crate) mod feed_forward;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod operand;
pub(crate) mod relative;
