//! bge-m3: a dense vector, a sparse vector and a vector for each token, all from one pass.
//!
//! Two linear layers beside the encoder make the second and the third (Chen et al. 2024,
//! <https://arxiv.org/abs/2402.03216>). A weighted mean of the three scores is more accurate than
//! each alone. Follows FlagEmbedding 1.4.2, `inference/embedder/encoder_only/m3.py`.

mod encode;
#[cfg(feature = "hub")]
mod from_hub;
mod model;
mod results;
mod score;
mod trace;

pub use model::BgeM3;
pub use results::BgeM3Vectors;
pub use score::BgeM3Scores;
