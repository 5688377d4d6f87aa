//! What a request passes before it reaches its route, and its answer on the way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::{Choice, ConstantTimeEq};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::Origins;
use super::app::App;
use super::ask::Told;
use super::error::{ApiError, Refused, shortened};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every answer its request id, and the framework's own refusals the one form of ours; logs and counts it.
pub(super) async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request.headers().get(&REQUEST_ID).cloned().unwrap_or_else(new_id);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().map_or("", |path| path.as_str()).to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() && response.extensions().get::<Refused>().is_none() {
        response = ApiError::bad("the request could not be read").into_response();
    }
    if (path.starts_with("/v1/") || path == "/embeddings")
        && let Some(refused) = response.extensions().get::<Refused>()
    {
        let body = refused.for_openai();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = body.into();
    }
    response.headers_mut().insert(REQUEST_ID, id.clone());
    app.metrics.answers.with_label_values(&[&route, status.as_str()]).inc();
    log(&method, &path, &id, &response, begun);
    response
}

/// A line for the log. Texts and keys are not in it. (A path has no line breaks: HTTP does not allow them.)
fn log(method: &Method, path: &str, id: &HeaderValue, response: &Response, begun: Instant) {
    let status = response.status().as_u16();
    let id = id.to_str().unwrap_or("(not text)");
    let milliseconds = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let total_ms = milliseconds(begun.elapsed());
    if let Some(told) = response.extensions().get::<Told>() {
        let Told { model, texts, tokens, truncated, cached, times, .. } = told;
        let (tokenize_ms, queue_ms) = (milliseconds(times.tokenizing), milliseconds(times.queueing));
        let compute_ms = milliseconds(times.computing);
        tracing::info!(
            id, %method, path, status, model, texts, tokens, truncated, cached, tokenize_ms, queue_ms, compute_ms, total_ms,
            "answered"
        );
    } else if let Some(Refused { kind, message: why }) = response.extensions().get::<Refused>() {
        match response.status() {
            StatusCode::INTERNAL_SERVER_ERROR => {
                tracing::error!(id, %method, path, status, kind, why, total_ms, "failed");
            }
            _ => tracing::warn!(id, %method, path, status, kind, why, total_ms, "refused"),
        }
    } else {
        tracing::debug!(id, %method, path, status, total_ms, "answered");
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
pub(super) async fn authorize(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let keys = &app.settings.keys;
    if !keys.is_empty() && !has_key(request.headers(), keys) {
        return Err(ApiError::unauthorized());
    }
    Ok(next.run(request).await)
}

/// Whether a request has one of the keys. How long that takes tells nothing about the keys but their lengths.
fn has_key(headers: &HeaderMap, keys: &[String]) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
    let Some((scheme, key)) = value.as_bytes().split_at_checked(6) else { return false };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return false;
    }
    // The documentation of the hosted API writes `Bearer: KEY`.
    let key = key.strip_prefix(b":").unwrap_or(key).trim_ascii();
    keys.iter().fold(Choice::from(0), |found, one| found | one.as_bytes().ct_eq(key)).into()
}

/// Lets so many requests to models in, and each for so long.
pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.settings.limits.request_time;
    let response = match app.admission.try_acquire() {
        Err(_) => ApiError::overloaded().into_response(),
        Ok(_permit) => {
            let _counted = InFlight::new(&app);
            let begun = Instant::now();
            let answer = tokio::time::timeout(limit, next.run(request)).await;
            app.metrics.duration.observe(begun.elapsed().as_secs_f64());
            answer.unwrap_or_else(|_| ApiError::deadline(limit).into_response())
        }
    };
    if let Some(refused) = response.extensions().get::<Refused>() {
        app.metrics.failures.with_label_values(&[refused.kind]).inc();
    }
    response
}

/// A request that is being answered, also if its client leaves.
struct InFlight<'a>(&'a App);

impl<'a> InFlight<'a> {
    fn new(app: &'a App) -> Self {
        app.metrics.in_flight.inc();
        Self(app)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}

pub(super) async fn no_route(request: Request) -> ApiError {
    ApiError::not_found(format!("nothing is served at {}", shortened(request.uri().path())))
}

pub(super) async fn not_this_method(request: Request) -> ApiError {
    ApiError::method(format!("{} does not answer {}", shortened(request.uri().path()), request.method()))
}

/// Tells browsers which other origins' pages may ask.
pub(super) fn cross_origin(origins: &Origins) -> CorsLayer {
    let told = ["x-request-id", "x-compute-type", "x-compute-time", "x-compute-characters", "x-compute-tokens"];
    let told = told.into_iter().chain(["x-truncated-texts", "retry-after"]).map(HeaderName::from_static);
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        // Clients send headers of their own; that they may is no danger, for the answer depends on none that a page could
        // not send anyway but the key, which it must know.
        .allow_headers(tower_http::cors::AllowHeaders::mirror_request())
        .expose_headers(told.collect::<Vec<_>>())
        .max_age(std::time::Duration::from_secs(3600));
    match origins {
        Origins::None => CorsLayer::new().vary([]),
        Origins::Any => layer.allow_origin(Any),
        Origins::These(origins) => layer.allow_origin(AllowOrigin::list(origins.iter().cloned())),
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
        for wrong in
            ["first", "Bearer firs", "Bearer first2", "Bearer", "Bearer ", "Basic first", "", "Bearer first,second"]
        {
            assert!(!has(wrong), "{wrong}");
        }
        assert!(!has_key(&HeaderMap::new(), &keys));
    }
}
