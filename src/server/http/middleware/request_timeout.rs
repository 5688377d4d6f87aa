//! The time limit and the metrics of requests to a model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::server::api::error::{ApiError, ErrorSummary};
use crate::server::inference::request::ResponseStats;
use crate::server::metrics::Metrics;

/// What the middleware needs.
#[derive(Clone)]
pub(in crate::server::http) struct RequestTimeout {
    pub(in crate::server::http) limit: Duration,
    pub(in crate::server::http) metrics: Arc<Metrics>,
}

/// Counts a failed request when it is dropped, which also happens when the client disconnects.
struct OutcomeCounter<'a> {
    metrics: &'a Metrics,
    /// The kind of failure. `None` if the request succeeded.
    failure: Option<&'static str>,
}

impl Drop for OutcomeCounter<'_> {
    fn drop(&mut self) {
        if let Some(kind) = self.failure {
            self.metrics.requests.with_label_values(&["single"]).inc();
            self.metrics.failures.with_label_values(&[kind]).inc();
        }
    }
}

/// Limits the time of a request to a model, and counts its outcome.
pub(in crate::server::http) async fn enforce_timeout(
    State(RequestTimeout { limit, metrics }): State<RequestTimeout>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let mut counter = OutcomeCounter { metrics: &metrics, failure: Some("client_disconnected") };
    let response = tokio::time::timeout(limit, next.run(request)).await;
    let response = response.unwrap_or_else(|_| ApiError::request_timeout(limit).into_response());
    counter.failure = response.extensions().get::<ErrorSummary>().map(|error| error.kind);
    if let Some(stats) = response.extensions().get::<ResponseStats>() {
        let method = if stats.texts > 1 { "batch" } else { "single" };
        metrics.requests.with_label_values(&[method]).inc();
        metrics.successes.with_label_values(&[method]).inc();
        metrics.duration.observe(started.elapsed().as_secs_f64());
    }
    response
}
