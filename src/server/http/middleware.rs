//! What a request passes before it reaches its route, and its answer on the way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use subtle::{Choice, ConstantTimeEq};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::server::Origins;
use crate::server::api::error::{ApiError, ErrorSummary, shortened};
use crate::server::http::router::App;
use crate::server::inference::request::ResponseStats;
use crate::server::metrics::Metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every answer its request id, and the framework's own refusals the one form of ours; logs and counts it.
pub(in crate::server) async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request.headers().get(&REQUEST_ID).filter(|id| is_short(id)).cloned().unwrap_or_else(new_id);
    let route = request.extensions().get::<MatchedPath>().map_or("", |path| path.as_str()).to_owned();
    let asked = RequestLog { method: request.method().clone(), path: request.uri().path().to_owned(), id, begun };
    let leaving = DisconnectGuard(Some(asked));
    let mut response = next.run(request).await;
    let asked = leaving.stays();
    let status = response.status();
    if status.is_client_error() && response.extensions().get::<ErrorSummary>().is_none() {
        response = ApiError::bad("the request could not be read").into_response();
    }
    if (asked.path.starts_with("/v1/") || asked.path == "/embeddings")
        && let Some(refused) = response.extensions().get::<ErrorSummary>()
    {
        let body = refused.for_openai();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = body.into();
    }
    response.headers_mut().insert(REQUEST_ID, asked.id.clone());
    if app.ending.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    app.metrics.answers.with_label_values(&[&route, status.as_str()]).inc();
    asked.log(&response);
    response
}

/// Whether an id is one to repeat: visible, and not long.
fn is_short(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// What the log tells of a request. Texts and keys are not in it. (A path has no line breaks: HTTP does not allow them.)
struct RequestLog {
    method: Method,
    path: String,
    id: HeaderValue,
    begun: Instant,
}

/// A request whose client may leave before it is answered: then this is dropped.
struct DisconnectGuard(Option<RequestLog>);

impl DisconnectGuard {
    fn stays(mut self) -> RequestLog {
        self.0.take().expect("it is taken here and nowhere else")
    }
}

impl Drop for DisconnectGuard {
    fn drop(&mut self) {
        if let Some(RequestLog { method, path, id, begun }) = self.0.take() {
            let id = id.to_str().unwrap_or_default();
            tracing::info!(id, %method, path, total_ms = milliseconds(begun.elapsed()), "client left");
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl RequestLog {
    /// A line for the log.
    fn log(&self, response: &Response) {
        let Self { method, path, id, begun } = self;
        let (status, id) = (response.status().as_u16(), id.to_str().unwrap_or_default());
        let total_ms = milliseconds(begun.elapsed());
        if let Some(told) = response.extensions().get::<ResponseStats>() {
            let ResponseStats { model, texts, tokens, truncated, cached, times, .. } = told;
            let (tokenize_ms, queue_ms) = (milliseconds(times.tokenizing), milliseconds(times.queueing));
            let compute_ms = milliseconds(times.computing);
            tracing::info!(
                id, %method, path, status, model, texts, tokens, truncated, cached, tokenize_ms, queue_ms, compute_ms,
                total_ms, "answered"
            );
        } else if let Some(ErrorSummary { kind, message: why }) = response.extensions().get::<ErrorSummary>() {
            match response.status() {
                StatusCode::INTERNAL_SERVER_ERROR => {
                    tracing::error!(id, %method, path, status, kind, why, total_ms, "failed");
                }
                _ => tracing::warn!(id, %method, path, status, kind, why, total_ms, "refused"),
            }
        } else if method == Method::POST {
            tracing::info!(id, %method, path, status, total_ms, "answered");
        } else {
            tracing::debug!(id, %method, path, status, total_ms, "answered");
        }
    }
}

/// An id that no other request of this process has.
fn new_id() -> HeaderValue {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let start = START.get_or_init(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_micros() as u64)
    });
    let text = format!("{start:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("unnamed"))
}

/// Lets those in who have a key, if keys are asked for.
pub(in crate::server) async fn authorize(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let keys = &app.settings.keys;
    if !keys.is_empty() && !has_key(request.headers(), keys) {
        discard(request.into_body()).await;
        return Err(ApiError::unauthorized());
    }
    Ok(next.run(request).await)
}

/// Whether a request has one of the keys. How long that takes tells nothing about the keys but their lengths.
fn has_key(headers: &HeaderMap, keys: &[String]) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
    let Some((scheme, key)) = value.as_bytes().split_at_checked(6) else { return false };
    // The documentation of the hosted API writes `Bearer: KEY`.
    let separated = key.first().is_some_and(|byte| b": \t".contains(byte));
    if !scheme.eq_ignore_ascii_case(b"bearer") || !separated {
        return false;
    }
    let key = key[1..].trim_ascii();
    keys.iter().fold(Choice::from(0), |found, one| found | one.as_bytes().ct_eq(key)).into()
}

/// Gives a request to a model so much time, and counts how it ends.
pub(in crate::server) async fn in_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.settings.limits.request_time;
    let (begun, mut counting) =
        (Instant::now(), OutcomeCounter { metrics: &app.metrics, failure: Some("client_left") });
    let answer = tokio::time::timeout(limit, next.run(request)).await;
    let response = answer.unwrap_or_else(|_| ApiError::deadline(limit).into_response());
    counting.failure = response.extensions().get::<ErrorSummary>().map(|refused| refused.kind);
    if let Some(told) = response.extensions().get::<ResponseStats>() {
        let method = if told.texts > 1 { "batch" } else { "single" };
        app.metrics.requests.with_label_values(&[method]).inc();
        app.metrics.successes.with_label_values(&[method]).inc();
        app.metrics.duration.observe(begun.elapsed().as_secs_f64());
    }
    response
}

/// Counts a failure when it is dropped, which is also what happens if the client leaves.
struct OutcomeCounter<'a> {
    metrics: &'a Metrics,
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

/// Reads the rest of a body that nobody wants. Some clients do not look for an answer before they have sent all of it, and
/// fail if the connection is closed meanwhile.
pub(in crate::server) async fn discard(mut body: Body) {
    const MOST: usize = 64 << 20;
    const LONGEST: Duration = Duration::from_secs(2);
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, |data| data.len());
            if bytes > MOST {
                break;
            }
        }
    };
    // What has not come by then is not waited for.
    drop(tokio::time::timeout(LONGEST, reading).await);
}

/// The answer to a request that made us panic.
pub(in crate::server) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::mistake().into_response()
}

pub(in crate::server) async fn no_route(request: Request) -> ApiError {
    let (parts, body) = request.into_parts();
    discard(body).await;
    ApiError::not_found(format!("nothing is served at {}", shortened(parts.uri.path())))
}

pub(in crate::server) async fn not_this_method(request: Request) -> ApiError {
    let (parts, body) = request.into_parts();
    discard(body).await;
    ApiError::method(format!("{} does not answer {}", shortened(parts.uri.path()), parts.method))
}

/// Tells browsers which other origins' pages may ask.
pub(in crate::server) fn cross_origin(origins: &Origins) -> Option<CorsLayer> {
    let told = ["x-request-id", "x-compute-type", "x-compute-time", "x-compute-characters", "x-compute-tokens"];
    let told = told.into_iter().chain(["x-truncated-texts", "retry-after"]).map(HeaderName::from_static);
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        // Clients send headers of their own; that they may is no danger, for the answer depends on none that a page could
        // not send anyway but the key, which it must know.
        .allow_headers(tower_http::cors::AllowHeaders::mirror_request())
        .expose_headers(told.collect::<Vec<_>>())
        .max_age(Duration::from_secs(3600));
    match origins {
        Origins::None => None,
        Origins::Any => Some(layer.allow_origin(Any)),
        Origins::These(origins) => Some(layer.allow_origin(AllowOrigin::list(origins.iter().cloned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let keys = ["first".to_owned(), "second".to_owned()];
        let has = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            has_key(&headers, &keys)
        };
        for right in ["Bearer first", "bearer second", "Bearer: first", "BEARER   second "] {
            assert!(has(right), "{right}");
        }
        for wrong in [
            "first",
            "Bearer firs",
            "Bearer first2",
            "Bearer",
            "Bearer ",
            "Basic first",
            "",
            "Bearer first,second",
            "Bearerfirst",
        ] {
            assert!(!has(wrong), "{wrong}");
        }
        assert!(!has_key(&HeaderMap::new(), &keys));
    }
}
