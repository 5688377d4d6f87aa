//! Connections. Each is served by its own task until it closes or the server shuts down.
//!
//! axum's own accept loop lacks three limits: on the time for a request's head, on the time for
//! reading a response, and on the number of connections.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

use crate::server::settings::Limits;

/// Connections at a time. More wait until one of these closes.
const MAX_CONNECTIONS: usize = 4096;

/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How long busy clients have to learn from a response that their connection will be closed.
const DRAIN_DELAY: Duration = Duration::from_millis(200);

/// How long the accept loop pauses after an error.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// How long to wait for one more connection of the backlog.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(1);

/// The connections of a server.
pub(in crate::server) struct Connections {
    http: http1::Builder,
    router: Router,
    open: GracefulShutdown,
    permits: Arc<Semaphore>,
    /// Time for a client to read more of a response.
    write_timeout: Duration,
    shutting_down: Arc<AtomicBool>,
}

impl Connections {
    /// Prepares to serve a router. `shutting_down` is set when the shutdown begins.
    pub(in crate::server) fn new(router: Router, limits: &Limits, shutting_down: Arc<AtomicBool>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(MAX_HEAD_BYTES);
        Self {
            http,
            router,
            open: GracefulShutdown::new(),
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            write_timeout: limits.body_timeout,
            shutting_down,
        }
    }

    /// Serves connections until `stop` completes, then waits up to `timeout` for requests in
    /// flight.
    pub(in crate::server) async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
        timeout: Duration,
    ) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                (stream, permit) = self.accept(&listener) => self.spawn(stream, permit),
            }
        }
        // From now on each response announces that the connection will be closed.
        self.shutting_down.store(true, Ordering::Relaxed);
        // Accept the connections already waiting in the backlog, then stop listening.
        while let Ok((stream, permit)) = tokio::time::timeout(BACKLOG_TIMEOUT, self.accept(&listener)).await {
            self.spawn(stream, permit);
        }
        drop(listener);
        tracing::info!(connections = self.open.count(), "shutting down");
        // Closing a connection between two requests may lose the second one, which may be on its
        // way. During the delay busy connections close after their next response. After it, idle
        // connections are closed.
        tokio::time::sleep(DRAIN_DELAY.min(timeout)).await;
        if tokio::time::timeout(timeout.saturating_sub(DRAIN_DELAY), self.open.shutdown()).await.is_err() {
            tracing::warn!(shutdown_timeout_s = timeout.as_secs_f64(), "some requests did not finish in time");
        }
    }

    /// Spawns the task of a connection.
    fn spawn(&self, stream: TcpStream, permit: Option<OwnedSemaphorePermit>) {
        // A response may have millions of floats. A client that never reads it would keep it in
        // memory.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.open.watch(self.http.serve_connection(TokioIo::new(Box::pin(stream)), service));
        tokio::spawn(async move {
            // A client that disconnects, or does not use HTTP, is not worth more than a debug
            // message.
            if let Err(error) = connection.await {
                if is_write_timeout(&error) {
                    tracing::debug!("write timed out: client is not reading the response");
                } else {
                    tracing::debug!(%error, "connection ended");
                }
            }
            drop(permit);
        });
    }

    /// Accepts the next connection, and returns it with its permit.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        // `None` would mean a closed semaphore, and this one is never closed.
        let permit = self.permits.clone().acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Small responses should leave at once. If the option cannot be set, they leave
                    // a little later.
                    drop(stream.set_nodelay(true));
                    return (stream, permit);
                }
                Err(error) => {
                    // Either this connection failed, or the process has no more file descriptors:
                    // then waiting helps.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
}

/// Whether an error of a connection is its write timeout.
fn is_write_timeout(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut)
}
