//! Cross-encoders: scores of pairs of texts.
//!
//! An embedder computes a vector for each text alone, and compares vectors. A cross-encoder reads
//! both texts at once, so that their tokens attend to one another, and computes the score itself:
//!
//! ```text
//! [CLS] query [SEP] text [SEP]  ->  token vectors  ->  first one  ->  head  ->  score
//! ```
//!
//! That is more accurate and takes a pass for every pair. The usual purpose is to rank the texts
//! that a search with vectors has found (Nogueira and Cho 2019, <https://arxiv.org/abs/1901.04085>).
//! Follows sentence-transformers 6.2.0, `cross_encoder/model.py`.

mod activation;
#[cfg(feature = "hub")]
mod from_hub;
mod info;
mod labels;
mod model;
mod open;
mod predict;
mod results;
#[cfg(feature = "serve")]
mod staged;
mod trace;

pub use model::CrossEncoder;
pub use results::{PairTokens, Predictions, RankedText, Ranking};
#[cfg(feature = "serve")]
pub(crate) use staged::{EncodedPair, ScoreFunction};
