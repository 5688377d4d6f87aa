//! Announces how long a connection stays open between two requests.

use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::activity::{Activity, WatchedBody};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The service of one connection. It reports the connection's requests, and adds the header
/// `keep-alive` to each response after which the connection stays open.
pub(super) struct KeepAliveService {
    router: TowerToHyperService<Router>,
    activity: Activity,
    /// The value of the header. `None` if the time is less than a second.
    announcement: Option<HeaderValue>,
}

impl KeepAliveService {
    pub(super) fn new(router: TowerToHyperService<Router>, activity: Activity, idle_timeout: Duration) -> Self {
        let seconds = idle_timeout.as_secs();
        let announcement = HeaderValue::from_str(&format!("timeout={seconds}")).ok().filter(|_| seconds > 0);
        Self { router, activity, announcement }
    }
}

impl Service<Request<Incoming>> for KeepAliveService {
    type Response = Response<WatchedBody<Body>>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let guard = self.activity.begin_request();
        let announcement = self.announcement.clone().filter(|_| stays_open(request.version(), request.headers()));
        let response = self.router.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            if response.status() == StatusCode::REQUEST_TIMEOUT {
                // The rest of the request's body is still missing.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            if let Some(announcement) = announcement
                && !has_option(response.headers(), "close")
            {
                response.headers_mut().insert(KEEP_ALIVE, announcement);
            }
            Ok(response.map(|body| WatchedBody::new(body, guard)))
        })
    }
}

/// Whether the client of a request wants to reuse the connection.
fn stays_open(version: Version, headers: &HeaderMap) -> bool {
    match version {
        Version::HTTP_10 => has_option(headers, "keep-alive"),
        _ => !has_option(headers, "close"),
    }
}

/// Whether the header `connection` has an option.
fn has_option(headers: &HeaderMap, option: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_stays_open_as_its_version_and_header_say() {
        let open = |version, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONNECTION, HeaderValue::from_static(value));
            }
            stays_open(version, &headers)
        };
        assert!(open(Version::HTTP_11, &[]));
        assert!(open(Version::HTTP_11, &["keep-alive"]));
        assert!(open(Version::HTTP_11, &["closed, upgrade"]));
        assert!(!open(Version::HTTP_11, &["Close"]));
        assert!(!open(Version::HTTP_11, &["TE", "upgrade , close"]));
        assert!(!open(Version::HTTP_10, &[]));
        assert!(open(Version::HTTP_10, &["Keep-Alive"]));
    }
}
