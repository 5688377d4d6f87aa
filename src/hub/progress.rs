//! Progress events of a download.

use std::time::Duration;

use crate::error::Error;

/// An event during the download of a model.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A file is being downloaded.
    Downloading {
        /// The file's name in the repository.
        name: &'a str,
        /// The file's size in bytes.
        size: u64,
        /// Bytes received so far, including those of an earlier attempt. Drops to 0 on a restart.
        received: u64,
    },
    /// A file is complete and in the cache.
    Finished {
        /// The file's name in the repository.
        name: &'a str,
    },
    /// Another process downloads this file; this one waits for it.
    WaitingForLock {
        /// The file's name in the repository.
        name: &'a str,
    },
    /// The model is opened from an incomplete cache: these files affect the result, and the hub
    /// did not provide them.
    UsingIncompleteCache {
        /// Names of the files that the cache lacks.
        names: &'a [String],
        /// Why the hub did not provide them. `None` means offline mode.
        error: Option<&'a Error>,
    },
    /// A request failed and will be retried.
    Retrying {
        /// The failure.
        error: &'a Error,
        /// The delay before the next attempt.
        delay: Duration,
    },
}

/// The caller's function that receives progress events.
#[cfg(feature = "hub")]
pub(super) type ProgressCallback<'a> = &'a mut dyn FnMut(Progress<'_>);
