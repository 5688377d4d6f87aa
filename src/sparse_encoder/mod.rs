//! Sparse encoders: a vector with an element for each vocabulary entry, most of them 0.
//!
//! The elements are weights of words, so an inverted index finds similar texts. SPLADE gives a text
//! also words that it does not contain: its head for masked language says for every token which
//! words could stand there.
//!
//! ```text
//! text -> tokens -> token vectors -> numbers of all words -> pooling -> sparse vector
//! ```
//!
//! Some models encode queries without a network, by a weight for each token that occurs. A router
//! then says which modules encode which texts. Follows sentence-transformers 6.2.0,
//! `sparse_encoder/model.py`.

mod embed;
mod explain;
#[cfg(feature = "hub")]
mod from_hub;
mod info;
mod model;
mod open;
mod results;
mod route;
mod router;
#[cfg(feature = "serve")]
mod staged;
mod trace;

pub use model::SparseEncoder;
pub use results::{SparseEmbeddings, SparseRow};
#[cfg(feature = "serve")]
pub(crate) use staged::EncodedSparseText;
