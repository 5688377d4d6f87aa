//! Models of the Hugging Face hub: in its local cache, and with the feature `hub` over the network.
//!
//! The layout of the cache (huggingface_hub, "Understand caching"), which that library and this one share:
//!
//! ```text
//! $HF_HUB_CACHE/models--sentence-transformers--all-mpnet-base-v2/
//!     refs/main                      a commit
//!     snapshots/<commit>/<file>      symbolic links to ../../blobs/<hash>, themselves links at times
//!     blobs/<hash>                   contents, and <hash>.incomplete what has come of them so far
//!     .no_exist/<commit>/<file>      empty: the repository has no such file
//!     trees/<commit>.json            all files of the commit; only newer versions of huggingface_hub write it
//! $HF_HUB_CACHE/.locks/models--…/<hash>.lock
//! ```
//!
//! [`find`] only reads it. `Hub`, with the feature, also fills it; all networking code is in `client`.

mod cache;
#[cfg(feature = "hub")]
mod cache_writer;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod completeness;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod file_selection;
#[cfg(feature = "hub")]
mod hash;
#[cfg(feature = "hub")]
mod pull;
#[cfg(feature = "hub")]
mod retry;
#[cfg(feature = "hub")]
mod settings;
#[cfg(feature = "hub")]
mod tls_support;
#[cfg(feature = "hub")]
mod url;

pub use cache::{cache_folder, find};
#[cfg(feature = "hub")]
pub use pull::Hub;
#[cfg(feature = "hub")]
pub use settings::{Progress, Secret, Settings};
