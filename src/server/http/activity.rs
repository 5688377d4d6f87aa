//! What a connection is doing, and how long it may do that.
//!
//! hyper has one timeout for two waits: for the first byte of the next request, and for the rest of
//! its head. Reverse proxies keep idle connections for a minute or two, so the first wait must be
//! longer than that. A head arrives within seconds of its first byte, so the second wait must be
//! short, otherwise slow clients hold connections. So the stream, the service and the response
//! bodies of a connection report here what they see, and the task of the connection watches the
//! deadline.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a connection may wait for its client.
#[derive(Clone, Copy)]
pub(super) struct ClientTimeouts {
    /// Between the end of a response, or the start of the connection, and the next request.
    pub(super) idle: Duration,
    /// From the first byte of a request's head to its last.
    pub(super) head: Duration,
}

/// The wait of a connection for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientWait {
    /// No request has started since this time.
    Idle(Instant),
    /// The head of a request has been arriving since this time.
    Head(Instant),
}

impl ClientWait {
    /// When the wait ends.
    pub(super) fn deadline(self, timeouts: ClientTimeouts) -> Instant {
        match self {
            Self::Idle(since) => since + timeouts.idle,
            Self::Head(since) => since + timeouts.head,
        }
    }
}

/// The activity of one connection, shared by its parts.
#[derive(Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

struct State {
    /// Requests whose response is not complete.
    in_flight: usize,
    /// The wait, if no request is in flight.
    wait: ClientWait,
}

impl Activity {
    /// The activity of a new connection.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { in_flight: 0, wait: ClientWait::Idle(Instant::now()) })))
    }

    /// The present wait, or `None` while a request is in flight. Other timeouts limit requests.
    pub(super) fn wait(&self) -> Option<ClientWait> {
        let state = self.lock();
        (state.in_flight == 0).then_some(state.wait)
    }

    /// Reports that a request's head is complete. Its response is complete when the returned guard
    /// is dropped.
    pub(super) fn begin_request(&self) -> RequestGuard {
        self.lock().in_flight += 1;
        RequestGuard(self.clone())
    }

    /// Reports bytes from the client.
    fn received(&self) {
        let mut state = self.lock();
        if state.in_flight == 0 && matches!(state.wait, ClientWait::Idle(_)) {
            state.wait = ClientWait::Head(Instant::now());
        }
    }

    /// Reports bytes to the client. The rest of a response may leave after its body is complete.
    fn sent(&self) {
        let mut state = self.lock();
        if matches!(state.wait, ClientWait::Idle(_)) {
            state.wait = ClientWait::Idle(Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a poisoned lock is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a request in flight until it is dropped.
pub(super) struct RequestGuard(Activity);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_flight -= 1;
        state.wait = ClientWait::Idle(Instant::now());
    }
}

/// A stream that reports its bytes.
pub(super) struct WatchedStream<S> {
    stream: Pin<Box<S>>,
    activity: Activity,
}

impl<S> WatchedStream<S> {
    pub(super) fn new(stream: S, activity: Activity) -> Self {
        Self { stream: Box::pin(stream), activity }
    }
}

impl<S: AsyncRead> AsyncRead for WatchedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.stream.as_mut().poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        }
        polled
    }
}

impl<S: AsyncWrite> WatchedStream<S> {
    fn report_write(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.activity.sent();
        }
        polled
    }
}

impl<S: AsyncWrite> AsyncWrite for WatchedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.stream.as_mut().poll_write(cx, bytes);
        self.report_write(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream.as_mut().poll_write_vectored(cx, slices);
        self.report_write(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

/// The body of a response, which keeps its request in flight.
pub(super) struct WatchedBody<B> {
    body: B,
    _request: RequestGuard,
}

impl<B> WatchedBody<B> {
    pub(super) fn new(body: B, request: RequestGuard) -> Self {
        Self { body, _request: request }
    }
}

impl<B: Body + Unpin> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: ClientTimeouts = ClientTimeouts { idle: Duration::from_secs(180), head: Duration::from_secs(30) };

    #[test]
    fn wait_follows_the_bytes_and_requests_of_a_connection() {
        let activity = Activity::new();
        let Some(ClientWait::Idle(start)) = activity.wait() else { panic!("a new connection is idle") };
        assert_eq!(ClientWait::Idle(start).deadline(TIMEOUTS) - start, TIMEOUTS.idle);
        activity.received();
        let Some(head @ ClientWait::Head(started)) = activity.wait() else { panic!("a head has started") };
        assert_eq!(head.deadline(TIMEOUTS) - started, TIMEOUTS.head);
        // More bytes of the head do not extend its time.
        activity.received();
        activity.sent();
        assert_eq!(activity.wait(), Some(head));
        let request = activity.begin_request();
        // The body of the request.
        activity.received();
        assert_eq!(activity.wait(), None);
        drop(request);
        let Some(ClientWait::Idle(answered)) = activity.wait() else { panic!("idle after the response") };
        assert!(answered >= started);
        // The response leaves, which delays the end of the wait.
        activity.sent();
        assert!(matches!(activity.wait(), Some(ClientWait::Idle(sent)) if sent >= answered));
    }

    #[test]
    fn wait_begins_when_the_last_of_several_responses_is_complete() {
        let activity = Activity::new();
        let (first, second) = (activity.begin_request(), activity.begin_request());
        drop(first);
        assert_eq!(activity.wait(), None);
        drop(second);
        assert!(matches!(activity.wait(), Some(ClientWait::Idle(_))));
    }
}
