//! Permits for the bytes of request bodies, which bound the memory of all bodies together.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::ApiError;

/// The permits of one body.
pub(super) struct BodyPermits<'s> {
    semaphore: &'s Semaphore,
    held: Option<SemaphorePermit<'s>>,
}

impl<'s> BodyPermits<'s> {
    /// Holds no permits.
    pub(super) fn new(semaphore: &'s Semaphore) -> Self {
        Self { semaphore, held: None }
    }

    /// Waits until this body holds permits for `total` bytes.
    pub(super) async fn reserve(&mut self, total: usize) -> Result<(), ApiError> {
        let missing = total.saturating_sub(self.held.as_ref().map_or(0, SemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let more = self.semaphore.acquire_many(missing).await;
        let more = more.map_err(|error| ApiError::internal(error.to_string()))?;
        match &mut self.held {
            None => self.held = Some(more),
            Some(held) => held.merge(more),
        }
        Ok(())
    }
}
