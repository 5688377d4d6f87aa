//! The routes and the order of the middleware.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::fallback;
use super::middleware::auth::{ApiKeys, require_api_key};
use super::middleware::cors::cors_layer;
use super::middleware::normalize_path::{DOCS_WITH_SLASH, normalize_path};
use super::middleware::request_log::{RequestLogger, log_request};
use super::middleware::request_timeout::{RequestTimeout, enforce_timeout};
use crate::server::api::hugging_face::{metadata, pipeline};
use crate::server::api::model_path::ID_PATTERNS;
use crate::server::api::state::ApiState;
use crate::server::api::{explain, openai, operations, predict, rerank, sparse, tei};
use crate::server::demo_page;
use crate::server::metrics::Metrics;
use crate::server::settings::Settings;

/// Builds all routes. The outermost layer sees a request first.
///
/// When `shutting_down` is set, every response announces that the connection will be closed.
pub(in crate::server) fn build(
    state: Arc<ApiState>,
    settings: &Settings,
    metrics: Arc<Metrics>,
    shutting_down: Arc<AtomicBool>,
) -> Router {
    let timeout = RequestTimeout { limit: settings.limits.request_timeout, metrics: metrics.clone() };
    let keys = ApiKeys::new(settings.api_keys.clone());
    let protected = inference_routes()
        .route_layer(from_fn_with_state(timeout, enforce_timeout))
        .merge(information_routes())
        .route_layer(from_fn_with_state(keys, require_api_key));
    let mut routes = protected
        .merge(open_routes())
        .fallback(fallback::no_route)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .layer(CatchPanicLayer::custom(fallback::panicked));
    if let Some(layer) = cors_layer(&settings.origins) {
        routes = routes.layer(layer);
    }
    let routes = routes.layer(from_fn_with_state(RequestLogger { metrics, shutting_down }, log_request));
    // A layer of the routes themselves would see a request only after it is routed.
    Router::new().fallback_service(routes.with_state(state)).layer(from_fn(normalize_path))
}

/// The routes that run a model. Their time is limited, and their outcomes are counted.
fn inference_routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/", post(pipeline::infer))
        .route("/invocations", post(pipeline::invoke))
        .merge(pipeline::routes())
        .route("/hf-inference", post(pipeline::infer))
        .nest("/hf-inference", pipeline::routes())
        .route("/similarity", post(tei::similarity))
        .route("/rerank", post(rerank::rerank))
        .route("/v1/rerank", post(rerank::rerank_as_cohere))
        .route("/v2/rerank", post(rerank::rerank_as_cohere))
        .route("/predict", post(predict::predict))
        .route("/embed", post(tei::embed))
        .route("/embed_all", post(tei::embed_all))
        .route("/embed_sparse", post(sparse::embed_sparse))
        .route("/tokenize", post(tei::tokenize))
        .route("/decode", post(tei::decode))
        .route("/explain", post(explain::explain))
        .route("/embeddings", post(openai::embeddings))
        .route("/v1/embeddings", post(openai::embeddings))
}

/// The routes that describe the models and the server.
fn information_routes() -> Router<Arc<ApiState>> {
    let mut routes = Router::new()
        .route("/info", get(tei::info))
        .route("/metrics", get(operations::metrics))
        .route("/v1/models", get(openai::models))
        .merge(metadata::routes());
    for id in ID_PATTERNS {
        routes = routes.route(&format!("/v1/models/{id}"), get(openai::model));
    }
    routes
}

/// The routes that never require a key.
fn open_routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/", get(demo_page::page))
        .route("/docs", get(demo_page::docs))
        .route(DOCS_WITH_SLASH, get(demo_page::docs_with_slash))
        .route("/openapi.json", get(demo_page::openapi))
        .route("/page.css", get(demo_page::style))
        .route("/page.js", get(demo_page::script))
        .route("/explain.js", get(demo_page::explain_script))
        .route("/docs.js", get(demo_page::docs_script))
        .route("/health", get(operations::health))
        .route("/ping", get(operations::ping))
}
