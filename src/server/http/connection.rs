//! Connections: taken one by one, each served by a task of its own until it closes or the server ends.
//!
//! axum's own loop would do but for three things: it waits without limit for a request's head and for an answer to be read,
//! and it takes any number of connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::write_timeout::WriteTimeout;
use crate::server::http::router::{self as app, App};

/// Connections at a time. More wait until one of these closes.
const CONNECTIONS: usize = 4096;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// How long busy clients are given to learn from an answer that the connection will be closed.
const DRAIN_DELAY: Duration = Duration::from_millis(200);

/// Serves connections until `stop` is done, then lets those that are open finish what they have begun, for at most `grace`.
pub(in crate::server) async fn serve(
    listener: TcpListener,
    app: &Arc<App>,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let connections = Connections::new(app);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            (stream, place) = accept(&listener, &places) => connections.serve(stream, place),
        }
    }
    // From now on each answer says that its connection will be closed.
    app.ending.store(true, Ordering::Relaxed);
    // Those who have connected and not been taken yet are; then nobody is let in any more.
    while let Ok((stream, place)) = tokio::time::timeout(Duration::from_millis(1), accept(&listener, &places)).await {
        connections.serve(stream, place);
    }
    drop(listener);
    tracing::info!(connections = connections.open.count(), "ending");
    // A connection that is closed between two requests may be closed while the second is on its way. Busy ones close by
    // themselves now, after their next answer; the others, on which nothing happens, are closed after that.
    tokio::time::sleep(DRAIN_DELAY.min(grace)).await;
    if tokio::time::timeout(grace.saturating_sub(DRAIN_DELAY), connections.open.shutdown()).await.is_err() {
        tracing::warn!(grace_s = grace.as_secs_f64(), "some requests were not finished in time");
    }
}

/// What connections are served with.
struct Connections {
    http: http1::Builder,
    router: Router,
    open: GracefulShutdown,
    /// For a client to read more of an answer.
    patience: Duration,
}

impl Connections {
    fn new(app: &Arc<App>) -> Self {
        let limits = app.settings.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(HEAD_BYTES);
        let open = GracefulShutdown::new();
        Self { http, router: app::router(app.clone()), open, patience: limits.body_time }
    }

    /// Serves a connection, by a task of its own.
    fn serve(&self, stream: TcpStream, place: Option<OwnedSemaphorePermit>) {
        let service = TowerToHyperService::new(self.router.clone());
        let stream = TokioIo::new(WriteTimeout::new(stream, self.patience));
        let connection = self.open.watch(self.http.serve_connection(stream, service));
        tokio::spawn(async move {
            // An error here is a client that has left, or does not speak HTTP; there is nobody to tell.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
}

/// The next connection, and its place.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // None would mean a closed semaphore, and this one is never closed.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small answers are to leave at once. If that cannot be set, they leave a little later.
                drop(stream.set_nodelay(true));
                return (stream, place);
            }
            Err(error) => {
                // Either this one connection has failed, or there are no more files; then waiting helps.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
