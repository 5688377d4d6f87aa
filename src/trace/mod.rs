//! Intermediate results of the forward pass.
//!
//! Each stage ends by passing its result to an [`Observer`]. Usually that is a [`NullObserver`],
//! and the compiler removes the call. A [`Recorder`] keeps all results, under stable names, and
//! becomes a [`Trace`].

#[cfg(feature = "write")]
mod file;
mod observer;
mod record;
mod recorder;
mod site;
mod tensor;
mod tokens;

#[cfg(feature = "write")]
pub use file::TraceFile;
pub(crate) use observer::{NullObserver, Observer};
pub use record::Trace;
pub(crate) use recorder::Recorder;
pub(crate) use site::{LayerSite, Site};
pub(crate) use tensor::Layout;
pub use tensor::TracedTensor;
pub(crate) use tokens::TracedTokens;
