//! The HTTP service: the API of the Hugging Face Inference API, text-embeddings-inference and
//! OpenAI's embeddings.
//!
//! A request passes three layers, each of which uses only the next ones:
//!
//! | layer | purpose |
//! |---|---|
//! | `http` | connections, request ids, API keys, timeouts, routes |
//! | `api` | the request and response formats of the three APIs |
//! | `inference` | admission, the response cache, tokenization, batching, the models |
//!
//! [`Server`] listens at an address. [`router`] returns the routes alone, to be mounted in another
//! axum application.

mod api;
mod demo_page;
mod http;
mod inference;
mod metrics;
mod settings;

pub use inference::models::ModelSpec;
pub use settings::{AllowedOrigins, Limits, ModelNames, Settings};

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, ToSocketAddrs};

use api::state::ApiState;
use http::connection::Connections;
use inference::models::Models;
use inference::service::InferenceService;
use metrics::Metrics;

/// Starts to load the models and returns the routes of the service, to be mounted in another axum
/// application.
///
/// Requests are answered as by [`Server`], with the same keys, limits and metrics. The routes must
/// run on a tokio runtime with its time driver; a multi-threaded one is recommended. Four limits
/// belong to connections and not to routes, so the application must set them itself: the number of
/// connections, [`Limits::idle_timeout`], [`Limits::header_timeout`], and the time for a client to
/// read a response. The worker threads end when the last clone of the router is dropped.
///
/// The demo page uses relative links, so nest the router under a path that ends with a slash.
///
/// ```no_run
/// use likewise::server::{ModelSpec, Settings, router};
/// use likewise::{Embedder, ModelFiles};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let files = ModelFiles::folder("path/to/all-mpnet-base-v2");
/// let model = ModelSpec::new("mpnet", Embedder::builder(), files);
/// let similarity = router(vec![model], Settings::default())?;
/// let app: axum::Router = axum::Router::new().nest("/similarity/", similarity);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If an alias is not valid, or if the operating system creates no thread to load the models.
pub fn router(models: Vec<ModelSpec>, settings: Settings) -> std::io::Result<Router> {
    Ok(Service::start(models, &settings)?.router)
}

/// The routes, and what the server needs in addition to shut down.
struct Service {
    router: Router,
    state: Arc<ApiState>,
    shutting_down: Arc<AtomicBool>,
}

impl Service {
    fn start(models: Vec<ModelSpec>, settings: &Settings) -> std::io::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let models = Models::load(models, settings, &metrics)?;
        let inference = InferenceService::new(models, settings, metrics.clone());
        let state = Arc::new(ApiState::new(inference, settings));
        let shutting_down = Arc::new(AtomicBool::new(false));
        let router = http::router::build(state.clone(), settings, metrics, shutting_down.clone());
        Ok(Self { router, state, shutting_down })
    }
}

/// A server that listens at an address and does not respond yet.
pub struct Server {
    listener: TcpListener,
    service: Service,
    limits: Limits,
}

impl Server {
    /// Listens at the first of the addresses that is available, and starts to load the models.
    ///
    /// # Errors
    /// If no address is available, if an alias is not valid, or if the operating system creates
    /// no thread to load the models.
    pub async fn bind(
        addresses: impl ToSocketAddrs,
        models: Vec<ModelSpec>,
        settings: Settings,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(addresses).await?;
        Ok(Self { listener, service: Service::start(models, &settings)?, limits: settings.limits })
    }

    /// The address that the server listens at, with the port that was chosen if port 0 was
    /// requested.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The names of the models, the default one first.
    pub fn models(&self) -> Vec<String> {
        self.service.state.inference.models().names().map(str::to_owned).collect()
    }

    /// Serves requests until `stop` completes, then waits up to `shutdown_timeout` for requests in
    /// flight. Requires the multi-threaded runtime of tokio.
    pub async fn run(self, stop: impl Future<Output = ()>, shutdown_timeout: Duration) {
        let Service { router, state, shutting_down } = self.service;
        Connections::new(router, &self.limits, shutting_down).serve(self.listener, stop, shutdown_timeout).await;
        state.inference.models().close();
    }
}
