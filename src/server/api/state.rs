//! The state that the handlers share.

use std::time::SystemTime;

use tokio::sync::Semaphore;

use crate::server::inference::service::InferenceService;

/// The state that the handlers share.
pub(in crate::server) struct ApiState {
    pub(in crate::server) inference: InferenceService,
    /// One permit for each byte of the bodies that are being read.
    pub(super) body_bytes: Semaphore,
    /// When the server started.
    pub(super) started: SystemTime,
}

impl ApiState {
    pub(in crate::server) fn new(inference: InferenceService) -> Self {
        /// Bytes of all bodies that are being read, unless a single body may be larger.
        const MIN_TOTAL_BODY_BYTES: usize = 256 << 20;
        let bytes = inference.limits().max_body_bytes.clamp(MIN_TOTAL_BODY_BYTES, Semaphore::MAX_PERMITS);
        Self { inference, body_bytes: Semaphore::new(bytes), started: SystemTime::now() }
    }
}
