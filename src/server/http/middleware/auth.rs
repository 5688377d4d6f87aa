//! API keys.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::{Choice, ConstantTimeEq};

use crate::server::api::error::ApiError;
use crate::server::api::json_body::discard_body;

/// The API keys, one of which a request must have. Empty: no key is required.
#[derive(Clone)]
pub(in crate::server::http) struct ApiKeys(Arc<[String]>);

impl ApiKeys {
    pub(in crate::server::http) fn new(keys: Vec<String>) -> Self {
        Self(keys.into())
    }

    /// Whether a request has one of the keys. The time it takes reveals only the lengths of the
    /// keys.
    fn allow(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
        let Some((scheme, key)) = value.as_bytes().split_at_checked(6) else { return false };
        // The documentation of the hosted API writes `Bearer: KEY`.
        let separated = key.first().is_some_and(|byte| b": \t".contains(byte));
        if !scheme.eq_ignore_ascii_case(b"bearer") || !separated {
            return false;
        }
        let key = key[1..].trim_ascii();
        self.0.iter().fold(Choice::from(0), |found, one| found | one.as_bytes().ct_eq(key)).into()
    }
}

/// Rejects requests without a key.
///
/// # Errors
/// 401.
pub(in crate::server::http) async fn require_api_key(
    State(keys): State<ApiKeys>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !keys.allow(request.headers()) {
        discard_body(request.into_body()).await;
        return Err(ApiError::unauthorized());
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn authorization_header_accepts_bearer_variants_only() {
        let keys = ApiKeys::new(vec!["first".to_owned(), "second".to_owned()]);
        let allows = |value: &'static str| {
            keys.allow(&HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]))
        };
        for right in ["Bearer first", "bearer second", "Bearer: first", "BEARER   second "] {
            assert!(allows(right), "{right}");
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
            assert!(!allows(wrong), "{wrong}");
        }
        assert!(!keys.allow(&HeaderMap::new()));
        assert!(ApiKeys::new(Vec::new()).allow(&HeaderMap::new()));
    }
}
