//! The entry point of the library: texts to sentence vectors and scores.

mod builder;
#[cfg(feature = "write")]
mod convert;
mod embed;
mod embed_table;
mod explain;
#[cfg(feature = "hub")]
mod from_hub;
mod info;
mod model;
mod open_table;
mod results;
mod source;
#[cfg(feature = "serve")]
mod staged;
mod tokenization;
mod trace;

pub use builder::Builder;
#[cfg(feature = "write")]
pub use convert::Converted;
pub use model::Embedder;
pub use results::{Embeddings, Scores};
#[cfg(feature = "serve")]
pub(crate) use staged::{EncodeOptions, EncodedText, TextInput};
