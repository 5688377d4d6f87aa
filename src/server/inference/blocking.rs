//! Work that takes long or needs much memory, limited to a few pieces at a time.
//!
//! A body of 2 MB may take a hundred megabytes once it is parsed, and as much again while its text
//! is tokenized. With as many such pieces at a time as there are cores, neither memory nor the
//! cores are overcommitted, whatever the number of clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::InferenceError;

/// Limits how much blocking work runs at a time.
pub(in crate::server) struct BlockingLimiter(Arc<Semaphore>);

/// A flag that is set when the client of a piece of work disconnects.
#[derive(Clone, Default)]
pub(in crate::server) struct Cancelled(Arc<AtomicBool>);

/// Sets the flag when the future that waits for the work is dropped.
struct CancelOnDrop(Cancelled);

impl Cancelled {
    /// Ends the work early if the client has disconnected.
    ///
    /// # Errors
    /// [`InferenceError::ClientDisconnected`], which no client sees.
    pub(in crate::server) fn check(&self) -> Result<(), InferenceError> {
        if self.0.load(Ordering::Relaxed) { Err(InferenceError::ClientDisconnected) } else { Ok(()) }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl BlockingLimiter {
    pub(in crate::server) fn new() -> Self {
        Self(Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))))
    }

    /// Waits for a permit to do blocking work.
    pub(in crate::server) async fn acquire(&self) -> Result<OwnedSemaphorePermit, InferenceError> {
        // The semaphore is never closed.
        self.0.clone().acquire_owned().await.map_err(|error| InferenceError::Failed(error.to_string()))
    }

    /// Runs a piece of work on a thread for blocking work. If the caller stops waiting, the work's
    /// flag is set, and the work keeps its permit until it returns.
    pub(in crate::server) async fn run<T, E>(
        &self,
        work: impl FnOnce(&Cancelled) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<InferenceError> + Send + 'static,
    {
        let permit = self.acquire().await?;
        let cancelled = Cancelled::default();
        let _cancel_on_drop = CancelOnDrop(cancelled.clone());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&cancelled)
        });
        // The task has panicked; the panic is in the log.
        task.await.unwrap_or_else(|_| Err(InferenceError::Panicked.into()))
    }
}

/// Runs a piece of work on this thread. If `is_long`, another thread takes over this one's
/// connections meanwhile.
pub(in crate::server) fn run_inline<T>(is_long: bool, work: impl FnOnce() -> T) -> T {
    // A current-thread runtime, which an application that mounts the router may use, has no other
    // thread.
    let can_hand_over =
        || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_long && can_hand_over() { tokio::task::block_in_place(work) } else { work() }
}
