//! Models of the Hugging Face hub, from the local cache or (feature `hub`) from the network.
//!
//! [`resolve()`] returns the files of a model: a folder, else the cache, else a download unless the
//! settings say offline. [`Settings::from_env`] reads the variables that huggingface_hub defines.
//!
//! This module and huggingface_hub share one cache ("Understand caching" in its documentation):
//!
//! ```text
//! $HF_HUB_CACHE/models--sentence-transformers--all-mpnet-base-v2/
//!     refs/main                      a commit hash
//!     snapshots/<commit>/<file>      symbolic link to ../../blobs/<hash>, which may be a link
//!     blobs/<hash>                   file contents; <hash>.incomplete is a partial download
//!     .no_exist/<commit>/<file>      empty: the commit has no such file
//!     trees/<commit>.json            all files of the commit (newer huggingface_hub only)
//! $HF_HUB_CACHE/.locks/models--…/<hash>.lock
//! ```
//!
//! `cache` reads this layout. `cache_writer` fills it. Only `client` opens connections.

mod cache;
#[cfg(feature = "hub")]
mod cache_writer;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod completeness;
#[cfg(feature = "hub")]
mod connection;
#[cfg(feature = "hub")]
mod download;
mod environment;
#[cfg(feature = "hub")]
mod file_selection;
#[cfg(feature = "hub")]
mod hash;
#[cfg(feature = "hub")]
mod lock;
#[cfg(feature = "hub")]
mod name_resolver;
#[cfg(feature = "hub")]
mod no_proxy;
#[cfg(feature = "hub")]
mod partial_file;
mod progress;
#[cfg(feature = "hub")]
mod pull;
mod resolve;
#[cfg(feature = "hub")]
mod retry;
mod settings;
mod similar_folders;
#[cfg(feature = "hub")]
mod tls_support;
#[cfg(feature = "hub")]
mod url;

pub use progress::Progress;
#[cfg(feature = "hub")]
pub use pull::Hub;
pub use resolve::{DEFAULT_REVISION, resolve, split_revision};
#[cfg(feature = "hub")]
pub(crate) use resolve::{bge_m3_files, model_files};
pub use settings::{Secret, Settings, TokenSource};
#[cfg(feature = "hub")]
pub use tls_support::CryptoProvider;
