//! How alike are two texts?
//!
//! `likewise` answers with a transformer written from scratch in Rust: it maps safetensors weights into memory, runs
//! hand-written MPNet, XLM-RoBERTa and BERT layers on hand-written SIMD kernels, pools the token vectors into a sentence
//! vector, and scores by cosine.
//!
//! ```no_run
//! # fn main() -> likewise::Result<()> {
//! let model = likewise::Embedder::open("path/to/all-mpnet-base-v2")?; // Send + Sync, &self everywhere
//! let vectors = model.embed(&["That is a happy person", "Today is a sunny day"])?;
//! let scores = model.similarity("That is a happy person", &["That is a happy dog", "Today is a sunny day"])?;
//! assert!(scores[0] > scores[1]);
//! # Ok(())
//! # }
//! ```
//!
//! # The flow, and where to read it
//!
//! ```text
//! text -> tokens -> packed batch -> embeddings -> encoder layers -> pooling & modules -> vectors -> scores
//! ```
//!
//! Roughly from the ground up; all of it stands on the kernels.
//!
//! 1. `checkpoint`, `config`, `files`: bytes to names. 2. `tokenize`, `batch`: text to tokens.
//! 3. `encoder::spec` and `encoder::families`: the architectures as data. 4. `encoder`: the whole forward pass on one
//!    screen. 5. `modules`, `similarity`, `quantize`, `embedder`: sentences. 6. `server`: all of it over HTTP. Beside them
//!    `hub` (models from the cache and the network), `parallel` (threads), `trace` (watching a pass) and `error`.

mod batch;
mod bytes;
mod checkpoint;
mod config;
mod embedder;
mod encoder;
mod error;
mod files;
pub mod hub;
mod modules;
mod parallel;
mod quantize;
#[cfg(feature = "quickstart")]
mod quickstart;
#[cfg(feature = "serve")]
pub mod server;
mod similarity;
mod tokenizer;
mod trace;
mod vectors;

pub use checkpoint::{Checkpoint, Tensor};
pub use embedder::{
    Builder, Converted, Embedder, Embeddings, MemoryEstimate, ModelInfo, Scores, Trace, TruncationPolicy,
};
pub use encoder::Architecture;
pub use error::{Error, Result, error_chain};
pub use files::ModelFiles;
pub use likewise_kernels::{Level, UnavailableLevel, math::Activation, quant::Precision};
pub use quantize::{Quantization, Ranges, quantize};
pub use similarity::{Similarity, pearson, spearman};
pub use tokenizer::{TokenUsage, Tokens};
pub use trace::Recorder;
pub use vectors::Vectors;

/// How the numbers are computed, and how the service is used, in prose.
pub mod guide {
    #[doc = include_str!("../docs/gemm.md")]
    pub mod gemm {}

    #[doc = include_str!("../docs/numerics.md")]
    pub mod numerics {}

    #[doc = include_str!("../docs/http.md")]
    pub mod http {}

    #[doc = include_str!("../docs/hub.md")]
    pub mod hub {}

    #[doc = include_str!("../docs/folders.md")]
    pub mod folders {}
}

/// The examples of README.md, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
