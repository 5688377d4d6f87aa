//! Late interaction: a vector for each token, and scores by the products of tokens.
//!
//! An embedder computes one vector for a text. Here each token keeps its own. A query is as similar
//! to a document as its tokens are, each to the document's token that suits it best:
//!
//! ```text
//! MaxSim(query, document) = Σ_i max_j query[i] · document[j]
//! ```
//!
//! That is nearly as accurate as a cross-encoder, and the vectors of documents can be computed in
//! advance (Khattab and Zaharia 2020, <https://arxiv.org/abs/2004.12832>). Queries and documents are
//! told apart by a marker or a prompt before them, and a query may be expanded by tokens that the
//! model turns into further search terms.
//!
//! Follows sentence-transformers 6.2.0, `multi_vector_encoder/model.py`, which also reads the
//! models of PyLate and of Stanford's ColBERT.

mod encode;
mod explain;
mod folder;
#[cfg(feature = "hub")]
mod from_hub;
mod info;
mod max_sim;
mod model;
mod open;
mod results;
mod role;
mod score;
#[cfg(feature = "serve")]
mod staged;
mod trace;

pub use model::MultiVectorEncoder;
pub use results::{TokenRows, TokenVectors};
#[cfg(feature = "serve")]
pub(crate) use {role::Role, staged::EncodedTokenText};
