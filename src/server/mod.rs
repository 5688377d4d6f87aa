//! The HTTP service: the hosted sentence-similarity API, on one's own machine.
//!
//! A request comes in by a `connection`, passes the `front` (request id, key, limits), and its body is read (`request`,
//! `fields`) as its API spells it (`hub`, `tei`, `openai`). All of them come to one question to a model (`ask`): its texts
//! are tokenized and wait in the model's `queue` together with those of other requests, and come back as vectors.

mod api;
mod demo_page;
mod http;
mod inference;
mod metrics;
mod settings;

pub use inference::models::ModelSpec;
pub use settings::{Limits, Origins, Settings};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use http::connection;
#[cfg(fuzzing)]
use http::router;
use http::router::App;
use inference::models::Models;
use metrics::Metrics;

/// A server that listens and does not answer yet.
pub struct Server {
    listener: tokio::net::TcpListener,
    app: Arc<App>,
}

impl Server {
    /// Listens at an address, and begins to load the models.
    ///
    /// # Errors
    /// If the address cannot be had, or no thread to load the models.
    pub async fn bind(address: SocketAddr, models: Vec<ModelSpec>, settings: Settings) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let metrics = Arc::new(Metrics::new());
        let models = Models::load(models, settings.limits, &metrics)?;
        Ok(Self { listener, app: App::new(models, metrics, settings) })
    }

    /// Where it listens: the port that was chosen, if 0 was asked for.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Names of the models that it serves, the default first.
    pub fn models(&self) -> Vec<String> {
        self.app.models.names().map(str::to_owned).collect()
    }

    /// Its routes, for requests that come from a fuzzer and not by a connection.
    #[cfg(fuzzing)]
    pub fn router(&self) -> axum::Router {
        router::router(self.app.clone())
    }

    /// Answers until `stop` is done, then finishes what has been begun, for at most `grace`. To be run by a multi-threaded
    /// runtime of tokio.
    pub async fn run(self, stop: impl Future<Output = ()>, grace: Duration) {
        connection::serve(self.listener, &self.app, stop, grace).await;
        self.app.models.close();
    }
}

/// JSON as an answer.
fn reply(value: &serde_json::Value) -> Response {
    json_text(value.to_string())
}

/// Text that is JSON already as an answer.
fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
