//! Connections. Each is served by its own task until it closes or the server shuts down.
//!
//! axum's own accept loop lacks four limits: on the time between two requests, on the time for a
//! request's head, on the time for reading a response, and on the number of connections.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;

use super::activity::{Activity, ClientTimeouts, ClientWait, WatchedStream};
use super::keep_alive::KeepAliveService;
use crate::server::settings::Limits;

/// Connections at a time. More wait until one of these closes.
const MAX_CONNECTIONS: usize = 4096;

/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How long busy clients have to learn from a response that their connection will be closed.
const DRAIN_DELAY: Duration = Duration::from_millis(200);

/// Longer timeouts are shortened to this, because adding them to a point in time could overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);

/// How much longer than announced a connection stays open.
const MAX_CLOSE_MARGIN: Duration = Duration::from_secs(1);

/// How long the accept loop pauses after an error. Each further error doubles it.
const MIN_ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(2);

/// The longest pause of the accept loop.
const MAX_ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// How long to wait for one more connection of the backlog.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(1);

/// The connections of a server.
pub(in crate::server) struct Connections {
    http: http1::Builder,
    router: Router,
    open: GracefulShutdown,
    permits: Arc<Semaphore>,
    timeouts: ClientTimeouts,
    /// The idle connections wait here, the one that has been idle for longest first. A notified
    /// connection closes, to make room for a new one.
    idle: Arc<Notify>,
    /// The value of the `keep-alive` header.
    announced_timeout: Duration,
    /// Time for a client to read more of a response.
    write_timeout: Duration,
    shutting_down: Arc<AtomicBool>,
}

impl Connections {
    /// Prepares to serve a router. `shutting_down` is set when the shutdown begins.
    pub(in crate::server) fn new(router: Router, limits: &Limits, shutting_down: Arc<AtomicBool>) -> Self {
        let mut http = http1::Builder::new();
        // hyper's own timeout would also limit the time between two requests.
        http.header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES);
        // A client that counts to the announced time closes the connection first.
        let margin = MAX_CLOSE_MARGIN.min(limits.idle_timeout / 10);
        let timeouts = ClientTimeouts {
            idle: limits.idle_timeout.min(MAX_TIMEOUT) + margin,
            head: limits.header_timeout.min(MAX_TIMEOUT),
        };
        Self {
            http,
            router,
            open: GracefulShutdown::new(),
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            timeouts,
            idle: Arc::default(),
            announced_timeout: limits.idle_timeout,
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
        let activity = Activity::new();
        let router = TowerToHyperService::new(self.router.clone());
        let service = KeepAliveService::new(router, activity.clone(), self.announced_timeout);
        let stream = TokioIo::new(WatchedStream::new(stream, activity.clone()));
        let connection = self.open.watch(self.http.serve_connection(stream, service));
        let connection = close_after_timeout(connection, activity, self.timeouts, self.idle.clone());
        tokio::spawn(async move {
            // A client that disconnects, or does not use HTTP, is not worth more than a debug
            // message.
            match connection.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if is_write_timeout(&error) => {
                    tracing::debug!("write timed out: client is not reading the response");
                }
                Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
                Err(reason) => tracing::debug!("connection closed: {reason}"),
            }
            drop(permit);
        });
    }

    /// Accepts the next connection, and returns it with its permit.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        if self.permits.available_permits() == 0 {
            self.idle.notify_one();
        }
        // `None` would mean a closed semaphore, and this one is never closed.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let mut delay = MIN_ACCEPT_RETRY_DELAY;
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
                    // then an idle connection closes, and waiting helps.
                    self.idle.notify_one();
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(delay).await;
                    delay = (2 * delay).min(MAX_ACCEPT_RETRY_DELAY);
                }
            }
        }
    }
}

/// Runs a connection until it ends, or until the client has let it wait for too long. An idle
/// connection also closes when `idle` notifies it.
///
/// # Errors
/// The reason, if the connection did not end by itself. Dropping the future closes the connection.
async fn close_after_timeout<T>(
    connection: impl Future<Output = T>,
    activity: Activity,
    timeouts: ClientTimeouts,
    idle: Arc<Notify>,
) -> Result<T, &'static str> {
    let mut connection = pin!(connection);
    let mut timer = pin!(tokio::time::sleep_until(Instant::now()));
    // The wait that the notification belongs to.
    let mut notified_wait = None;
    let mut notified = pin!(None);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            return Poll::Ready(Ok(result));
        }
        // Only the connection's own parts change the activity, and they have just been polled.
        let wait = activity.wait();
        if wait != notified_wait {
            // The latest idle connection is the last to be notified.
            notified_wait = wait;
            notified.set(matches!(wait, Some(ClientWait::Idle(_))).then(|| idle.notified()));
        }
        let Some(wait) = wait else { return Poll::Pending };
        let deadline = wait.deadline(timeouts);
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(match wait {
                ClientWait::Idle(_) => "no request within the idle timeout",
                ClientWait::Head(_) => "the request's head did not arrive in time",
            }));
        }
        match notified.as_mut().as_pin_mut() {
            Some(notified) => notified.poll(cx).map(|()| Err("idle, and a new connection needs its place")),
            None => Poll::Pending,
        }
    })
    .await
}

/// Whether an error of a connection is its write timeout.
fn is_write_timeout(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut)
}
