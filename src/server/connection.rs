//! Connections: taken one by one, each served by a task of its own until it closes or the server ends.
//!
//! axum's own loop would do but for two things: it waits for a request's head without limit, and it takes any number of
//! connections.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at a time. More wait until one of these closes.
const CONNECTIONS: usize = 4096;

/// Serves connections until `stop` is done, then lets those that are open finish what they have begun, for at most `grace`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    head_time: Duration,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_time);
    let open = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, place) = tokio::select! {
            () = &mut stop => break,
            next = accept(&listener, &places) => next,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // An error here is a client that has left, or does not speak HTTP; there is nobody to tell.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
    // Nobody is let in any more.
    drop(listener);
    tracing::info!(connections = open.count(), "ending");
    if tokio::time::timeout(grace, open.shutdown()).await.is_err() {
        tracing::warn!(grace_s = grace.as_secs_f64(), "some requests were not finished in time");
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
