//! Slashes that a path has too many of.
//!
//! Users configure addresses with a slash at the end, and clients append paths that begin with one.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::Next;
use axum::response::Response;

/// The only route with a slash at the end. It redirects, because the page's links are relative.
pub(in crate::server::http) const DOCS_WITH_SLASH: &str = "/docs/";

/// Removes slashes at the end of the path, and all but one of several in a row, before the request
/// is routed.
pub(in crate::server::http) async fn normalize_path(mut request: Request, next: Next) -> Response {
    if let Some(uri) = normalized(request.uri()) {
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

/// Returns the address with the normalized path, unless it is normalized already.
fn normalized(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.starts_with('/') || !(path.contains("//") || path.len() > 1 && path.ends_with('/')) {
        return None;
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut path = format!("/{}", segments.join("/"));
    if path == DOCS_WITH_SLASH.trim_end_matches('/') && uri.path().ends_with('/') {
        path = DOCS_WITH_SLASH.to_owned();
    }
    if let Some(query) = uri.query() {
        path = format!("{path}?{query}");
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_loses_the_slashes_that_it_has_too_many_of() {
        for (given, expected) in [
            ("//embed", "/embed"),
            ("/embed/", "/embed"),
            ("/embed//", "/embed"),
            ("/v1//embeddings", "/v1/embeddings"),
            ("///v1///embeddings///", "/v1/embeddings"),
            ("//", "/"),
            ("/models//org//name/?a=//b/", "/models/org/name?a=//b/"),
            ("/models/org%2Fname/", "/models/org%2Fname"),
            ("http://example.org//embed/?q", "http://example.org/embed?q"),
            ("//docs//", "/docs/"),
        ] {
            let found = normalized(&given.parse().expect("an address"));
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), Some(expected), "{given}");
        }
        for same in ["/", "/embed", "/v1/embeddings?x=//", "*", "/models/a%2F%2Fb", "/docs"] {
            assert_eq!(normalized(&same.parse().expect("an address")), None, "{same}");
        }
    }
}
