//! Work that takes long or needs much memory, limited to a few pieces at a time.
//!
//! A body of 2 MB may take a hundred megabytes once it is parsed, and as much again while its text
//! is tokenized. With as many such pieces at a time as there are cores, neither memory nor the
//! cores are overcommitted, whatever the number of clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

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
        self.0.clone().acquire_owned().await.map_err(|error| InferenceError::Failed(error.to_string().into()))
    }

    /// Runs a piece of work on a new thread. If the caller stops waiting, the work's flag is set,
    /// and the work keeps its permit until it returns.
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
        run_on_thread(move || {
            let _permit = permit;
            work(&cancelled)
        })
        .await
        // The work has panicked; the panic is in the log.
        .unwrap_or_else(|| Err(InferenceError::Panicked.into()))
    }
}

/// Runs a piece of work on a new thread, or on this one if the operating system creates none.
/// Returns `None` if the work panics.
///
/// tokio's own threads for blocking work are not used: without a free one and without permission to
/// create one, the work would never run.
async fn run_on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // The thread takes the work out of the cell. If there is no thread, the work is still there.
    let cell = Arc::new(Mutex::new(Some(work)));
    let (sender, receiver) = oneshot::channel();
    let on_thread = cell.clone();
    let take = |cell: &Mutex<Option<_>>| cell.lock().unwrap_or_else(PoisonError::into_inner).take();
    let spawned = std::thread::Builder::new().name("likewise-blocking".to_owned()).spawn(move || {
        if let Some(work) = take(&on_thread) {
            // The client may have disconnected.
            _ = sender.send(work());
        }
    });
    match spawned {
        Ok(_) => receiver.await.ok(),
        Err(_) => take(&cell).map(|work| run_inline(true, work)),
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
