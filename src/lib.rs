//! Sentence embeddings and sentence similarity on CPUs, in pure Rust.
//!
//! An [`Embedder`] opens a sentence-transformers model folder and computes the vector of each text.
//! It memory-maps the weights, runs the encoder on hand-written SIMD kernels, and pools
//! the token vectors to a sentence vector. It scores two texts by the model's similarity function,
//! such as the cosine of their vectors.
//!
//! ```no_run
//! # fn main() -> likewise::Result<()> {
//! // Send + Sync; all methods take &self.
//! let model = likewise::Embedder::open("path/to/all-mpnet-base-v2")?;
//! let vectors = model.embed(&["That is a happy person", "Today is a sunny day"])?;
//! let sentences = ["That is a happy dog", "Today is a sunny day"];
//! let scores = model.similarity("That is a happy person", &sentences)?;
//! assert_eq!(vectors.row(0).len(), model.width());
//! assert!(scores[0] > scores[1]);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! The default features are none: the library core has no networking code, no model and no command
//! line.
//!
//! - `hub`: models of the Hugging Face hub ([`hub`], `Embedder::from_hub`).
//! - `serve`: the HTTP service (`server`).
//! - `quickstart`: a small English model inside the program, 16 MB (`ModelFiles::quickstart`).
//! - `write`: converted models (`Builder::convert`) and files that are never incomplete
//!   (`OutputFile`).
//!
//! # Data flow
//!
//! ```text
//! text -> tokens -> packed batch -> embeddings -> encoder layers
//!      -> pooling & modules -> vectors -> scores
//! ```
//!
//! [`guide`] explains the computation and the service in prose.

// A conversion also needs what was read from the folder, such as the names of files and tensors.
#![cfg_attr(not(feature = "write"), allow(dead_code, unused_imports, reason = "only conversion reads some values"))]

mod backbone;
mod batch;
mod bge_m3;
mod bytes;
mod checkpoint;
mod config;
mod cross_encoder;
mod embedder;
mod encoder;
mod error;
mod explanation;
mod files;
#[cfg(feature = "write")]
mod flush;
pub mod hub;
mod model_folder;
mod model_info;
mod modules;
mod multi_vector;
#[cfg(feature = "write")]
mod output_file;
mod parallel;
mod quantize;
#[cfg(feature = "quickstart")]
mod quickstart;
#[cfg(feature = "serve")]
pub mod server;
mod similarity;
mod sparse_encoder;
mod static_embedding;
#[cfg(feature = "write")]
mod tensor_file;
mod tokenizer;
mod trace;
mod vector_math;
mod vectors;

pub use backbone::{MemoryEstimate, TruncationPolicy};
pub use bge_m3::{BgeM3, BgeM3Scores, BgeM3Vectors};
pub use checkpoint::{Checkpoint, Tensor};
pub use cross_encoder::{CrossEncoder, PairTokens, Predictions, RankedText, Ranking};
#[cfg(feature = "write")]
pub use embedder::Converted;
pub use embedder::{Builder, Embedder, Embeddings, Scores};
pub use encoder::Architecture;
pub use error::{ContentError, CrossEncoderError, Error, HubErrorKind, Result, SparseEncoderError, error_chain};
pub use explanation::{
    AttentionLayers, ExplainedText, ExplainedToken, Explanation, ExplanationKind, LayerAttention, SharedTerm,
};
pub use files::ModelFiles;
pub use likewise_kernels::{Level, UnavailableLevel, math::Activation, quant::Precision};
pub use model_folder::ModelKind;
pub use model_info::{ModelInfo, ModelOutput};
pub use modules::PoolingMode;
pub use multi_vector::{MultiVectorEncoder, TokenRows, TokenVectors};
#[cfg(feature = "write")]
pub use output_file::OutputFile;
pub use quantize::{Quantization, Ranges, quantize};
pub use similarity::{MultiVectorSimilarity, Similarity, pearson, spearman};
pub use sparse_encoder::{SparseEmbeddings, SparseEncoder, SparseRow};
#[cfg(feature = "write")]
pub use tensor_file::TensorFile;
pub use tokenizer::{TokenUsage, Tokens, is_caught_panic};
#[cfg(feature = "write")]
pub use trace::TraceFile;
pub use trace::{Trace, TracedTensor};
pub use vectors::{VectorElements, VectorFormat, VectorRows, Vectors};

/// Explanations in prose: the matrix product, numerics, the HTTP service, the hub and model
/// folders.
// Of two definitions of a Markdown link the first counts. So a link from page to page leads to the
// module here, and to the file, which the second definition names, in the repository.
pub mod guide {
    #[doc = "[numerics.md]: crate::guide::numerics\n\n"]
    #[doc = include_str!("../docs/gemm.md")]
    pub mod gemm {}

    #[doc = include_str!("../docs/numerics.md")]
    pub mod numerics {}

    #[doc = "[numerics.md]: crate::guide::numerics\n\n"]
    #[doc = include_str!("../docs/http.md")]
    pub mod http {}

    #[doc = include_str!("../docs/hub.md")]
    pub mod hub {}

    #[doc = "[numerics.md]: crate::guide::numerics\n"]
    #[doc = "[16-bit weights]: crate::guide::numerics#16-bit-weights\n\n"]
    #[doc = include_str!("../docs/folders.md")]
    pub mod folders {}
}

/// The examples of README.md, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
