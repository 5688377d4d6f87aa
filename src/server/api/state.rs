//! The state that the handlers share.

use std::time::SystemTime;

use tokio::sync::Semaphore;

use crate::server::inference::service::InferenceService;
use crate::server::settings::Settings;

/// The state that the handlers share.
pub(in crate::server) struct ApiState {
    pub(in crate::server) inference: InferenceService,
    /// One permit for each byte of the bodies that are being read.
    pub(super) body_bytes: Semaphore,
    /// Whether `/v1/embeddings` accepts token ids.
    pub(super) openai_token_ids: bool,
    /// When the server started.
    pub(super) started: SystemTime,
}

impl ApiState {
    pub(in crate::server) fn new(inference: InferenceService, settings: &Settings) -> Self {
        /// Bytes of all bodies that are being read, unless a single body may be larger.
        const MIN_TOTAL_BODY_BYTES: usize = 256 << 20;
        /// What unpacking takes in addition to the packed and the unpacked bytes.
        const UNPACKING_BYTES: usize = 1 << 20;
        let largest = inference.limits().max_body_bytes.saturating_mul(2).saturating_add(UNPACKING_BYTES);
        let bytes = largest.clamp(MIN_TOTAL_BODY_BYTES, Semaphore::MAX_PERMITS);
        Self {
            inference,
            body_bytes: Semaphore::new(bytes),
            openai_token_ids: settings.openai_token_ids,
            started: SystemTime::now(),
        }
    }
}
