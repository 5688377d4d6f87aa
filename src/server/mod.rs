//! The HTTP service: the hosted sentence-similarity API, on one's own machine.
//!
//! A request is read (`body`), its texts are tokenized and wait in their model's queue (`queue`) together with those of
//! other requests, and come back as vectors, from which the answer is made (`inference`).

mod app;
mod body;
mod error;
mod inference;
mod models;
mod queue;

pub use models::ModelSpec;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app::App;
use error::ApiError;
use models::Models;

/// What a server accepts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Texts of a request, the source among them.
    pub texts: usize,
    /// Tokens that may wait in a model's queue.
    pub waiting_tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 2_000_000, texts: 10_000, waiting_tokens: 200_000 }
    }
}

impl Limits {
    fn check_texts(&self, texts: usize) -> Result<(), ApiError> {
        match texts > self.texts {
            true => {
                Err(ApiError::unprocessable(format!("{texts} texts in one request; at most {} are taken", self.texts)))
            }
            false => Ok(()),
        }
    }
}

/// A server that listens and does not answer yet.
pub struct Server {
    listener: tokio::net::TcpListener,
    app: Arc<App>,
}

impl Server {
    /// Listens at an address, and begins to load the models.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(address: SocketAddr, models: Vec<ModelSpec>, limits: Limits) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let models = Models::load(models, limits.waiting_tokens);
        Ok(Self { listener, app: Arc::new(App { models, limits }) })
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

    /// Answers until `stop` is done, then finishes what has been begun, for at most `grace`. To be run by a multi-threaded
    /// runtime of tokio.
    ///
    /// # Errors
    /// If connections cannot be accepted any more.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static, grace: Duration) -> std::io::Result<()> {
        let (stopping, mut stopped) = tokio::sync::watch::channel(false);
        let signal = async move {
            stop.await;
            stopping.send_replace(true);
        };
        let serving = axum::serve(self.listener, app::router(self.app.clone())).with_graceful_shutdown(signal);
        let result = tokio::select! {
            result = serving => result,
            () = async {
                // An error means that the sender is gone: then serving has ended too.
                drop(stopped.wait_for(|&stopped| stopped).await);
                tokio::time::sleep(grace).await;
            } => Ok(()),
        };
        self.app.models.close();
        result
    }
}
