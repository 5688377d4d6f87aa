//! Work that takes long or much memory: a few pieces at a time.
//!
//! A body of 2 MB may be a hundred megabytes once it is parsed, and as much again while its text is tokenized. With as many
//! such pieces at a time as there are cores, neither memory nor the cores are overcommitted, however many clients there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::server::api::error::ApiError;

/// The places for such work.
pub(in crate::server) struct BlockingLimiter(Arc<Semaphore>);

/// Whether whoever wanted a piece of work has left.
#[derive(Clone, Default)]
pub(in crate::server) struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// Gives the error that nobody will see, if so.
    pub(in crate::server) fn check(&self) -> Result<(), ApiError> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(ApiError::unavailable("the client has left")),
            false => Ok(()),
        }
    }
}

impl BlockingLimiter {
    pub(in crate::server) fn new() -> Self {
        Self(Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))))
    }

    /// A place, once there is one.
    pub(in crate::server) async fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        // It is never closed.
        self.0.clone().acquire_owned().await.map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Does a piece of work on a thread of its own. If the caller leaves, the work is told, and keeps its place until it ends.
    pub(in crate::server) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cancelled) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        struct Caller(Cancelled);
        impl Drop for Caller {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        let place = self.place().await?;
        let left = Cancelled::default();
        let _caller = Caller(left.clone());
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&left)
        });
        // It has panicked, and that is in the log.
        done.await.unwrap_or_else(|_| Err(ApiError::mistake()))
    }
}
