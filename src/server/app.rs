//! The routes, and what the handlers share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, SemaphorePermit};
use tower_http::catch_panic::CatchPanicLayer;

use super::cache::Cache;
use super::error::ApiError;
use super::heavy::Heavy;
use super::metrics::{Metrics, ModelSample};
use super::models::{self, Models};
use super::{Settings, front, hub, openai, site, tei};

/// What the handlers share.
pub(super) struct App {
    pub(super) models: Models,
    pub(super) settings: Settings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cache: Option<Cache>,
    /// A permit for each request to a model that may be answered at a time.
    admission: Semaphore,
    /// A permit for each byte of bodies that are being read.
    pub(super) body_bytes: Semaphore,
    pub(super) heavy: Heavy,
    /// Whether it has been told to end.
    pub(super) ending: AtomicBool,
    pub(super) begun: SystemTime,
}

impl App {
    pub(super) fn new(models: Models, metrics: Arc<Metrics>, settings: Settings) -> Arc<Self> {
        let cache = Cache::of(settings.cache_bytes);
        /// Bytes of all bodies that are being read, if one may not be longer.
        const BODIES: usize = 256 << 20;
        let permits = |n: usize| Semaphore::new(n.min(Semaphore::MAX_PERMITS));
        Arc::new(Self {
            admission: permits(settings.limits.requests),
            body_bytes: permits(settings.limits.body_bytes.max(BODIES)),
            heavy: Heavy::new(),
            ending: AtomicBool::new(false),
            begun: SystemTime::now(),
            models,
            settings,
            metrics,
            cache,
        })
    }

    /// A place for a request to a model.
    ///
    /// # Errors
    /// 429 if all are taken.
    pub(super) fn admit(&self) -> Result<Admitted<'_>, ApiError> {
        let place = self.admission.try_acquire().map_err(|_| ApiError::overloaded())?;
        self.metrics.in_flight.inc();
        Ok(Admitted { metrics: &self.metrics, _place: place })
    }
}

/// The place of a request that is being answered.
pub(super) struct Admitted<'a> {
    metrics: &'a Metrics,
    _place: SemaphorePermit<'a>,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

/// All routes. The outermost layer sees a request first.
pub(super) fn router(app: Arc<App>) -> Router {
    // What asks a model for something: answered in limited time, and counted.
    let asking = Router::new()
        .route("/", post(hub::question))
        .route("/invocations", post(hub::question))
        .merge(hub::routes())
        .route("/hf-inference", post(hub::question))
        .route("/hf-inference/", post(hub::question))
        .nest("/hf-inference", hub::routes())
        .route("/similarity", post(tei::similarity))
        .route("/embed", post(tei::embed))
        .route("/embed_all", post(tei::embed_all))
        .route("/tokenize", post(tei::tokenize))
        .route("/decode", post(tei::decode))
        .route("/embeddings", post(openai::embeddings))
        .route("/v1/embeddings", post(openai::embeddings))
        .route_layer(middleware::from_fn_with_state(app.clone(), front::in_time));
    let telling = Router::new()
        .route("/info", get(tei::info))
        .route("/metrics", get(metrics))
        .route("/v1/models", get(openai::models))
        .merge(hub::clients::routes());
    let closed = asking.merge(telling).route_layer(middleware::from_fn_with_state(app.clone(), front::authorize));
    let open = Router::new()
        .route("/", get(site::page))
        .route("/docs", get(site::docs))
        .route("/openapi.json", get(site::openapi))
        .route("/page.css", get(site::style))
        .route("/page.js", get(site::script))
        .route("/docs.js", get(site::docs_script))
        .route("/health", get(health))
        .route("/ping", get(ping));
    let mut all = closed
        .merge(open)
        .fallback(front::no_route)
        .method_not_allowed_fallback(front::not_this_method)
        .layer(CatchPanicLayer::custom(front::panicked));
    if let Some(layer) = front::cross_origin(&app.settings.origins) {
        all = all.layer(layer);
    }
    all.layer(middleware::from_fn_with_state(app.clone(), front::finish)).with_state(app)
}

/// GET `/ping`: 200 while the process serves.
async fn ping() -> StatusCode {
    StatusCode::OK
}

/// GET `/health`: 200 when all models are loaded.
async fn health(State(app): State<Arc<App>>) -> Result<StatusCode, ApiError> {
    for (name, state) in app.models.states() {
        match state {
            models::State::Ready(_) => {}
            models::State::Loading => return Err(ApiError::unavailable(format!("model {name} is being loaded"))),
            // Why is for those who have a key.
            models::State::Failed(_) => return Err(ApiError::unavailable(format!("model {name} cannot be served"))),
        }
    }
    Ok(StatusCode::OK)
}

/// GET `/metrics`.
async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let states: Vec<_> = app.models.states().collect();
    let sample = |(name, state): &(&'_ str, models::State)| {
        let served = state.ready();
        let (waiting_texts, waiting_tokens) = served.map_or((0, 0), |served| served.queue.waiting());
        let labels = served.map(|served| {
            let info = &served.info;
            let level = info.level.to_string();
            [info.architecture.family.to_string(), info.precision.name().to_owned(), level, info.threads.to_string()]
        });
        (name.to_string(), state.name(), labels, waiting_texts, waiting_tokens)
    };
    let samples: Vec<_> = states.iter().map(sample).collect();
    let samples: Vec<_> = samples
        .iter()
        .map(|(name, state, labels, waiting_texts, waiting_tokens)| ModelSample {
            name,
            state,
            labels: labels.clone(),
            waiting_texts: *waiting_texts,
            waiting_tokens: *waiting_tokens,
        })
        .collect();
    let cached = app.cache.as_ref().map_or(0, Cache::bytes);
    let text = app.metrics.text(cached, &samples).map_err(|error| ApiError::internal(error.to_string()))?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
