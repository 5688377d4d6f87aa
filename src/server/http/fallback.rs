//! Responses to requests that no handler answers.

use std::any::Any;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use crate::server::api::error::{ApiError, shortened};
use crate::server::api::json_body::discard_body;

/// 404: no route has this path.
pub(super) async fn no_route(request: Request) -> ApiError {
    let (parts, body) = request.into_parts();
    discard_body(body).await;
    ApiError::not_found(format!("no route for {}", shortened(parts.uri.path())))
}

/// 405: the route does not support the method.
pub(super) async fn method_not_allowed(request: Request) -> ApiError {
    let (parts, body) = request.into_parts();
    discard_body(body).await;
    ApiError::method_not_allowed(format!("{} does not support {}", shortened(parts.uri.path()), parts.method))
}

/// 500: a handler panicked.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::panicked().into_response()
}
