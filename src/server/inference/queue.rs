//! Batches the texts of many requests.
//!
//! A request puts its texts into the model's queue and waits for their vectors. The model has as
//! many workers as threads. Each worker takes the texts of one batch out of the queue, whichever
//! requests they belong to. Batching never changes a response, because a text's vector has the same
//! bits in any batch.
//!
//! Requests take turns. In each turn a request may add about [`TOKENS_PER_TURN`] tokens to the next
//! batch, so a request with ten thousand sentences does not delay one with a single sentence.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::error::InferenceError;
use crate::embedder::{Embedder, EncodedText};
use crate::error::{Error, Result};
use crate::server::metrics::Metrics;
use crate::server::settings::Limits;

/// Tokens that a request may add to a batch before it is the next request's turn.
const TOKENS_PER_TURN: usize = 64;

/// A request of at most this many tokens is always admitted, so a few large requests never lock out
/// all small ones. The number of requests in flight is limited elsewhere.
const ALWAYS_ADMITTED_TOKENS: usize = 4 * TOKENS_PER_TURN;

/// The queue of one model.
pub(super) struct Queue {
    model: Arc<Embedder>,
    metrics: Arc<Metrics>,
    state: Mutex<QueueState>,
    changed: Condvar,
    limits: Limits,
}

#[derive(Default)]
struct QueueState {
    requests: VecDeque<QueuedRequest>,
    /// The number of requests so far.
    count: u64,
    /// Tokens in the queue.
    tokens: usize,
    /// Workers that are computing a batch.
    busy_workers: usize,
    /// Whether the queue accepts no more requests.
    closed: bool,
}

/// The texts of a request that no worker has taken yet.
struct QueuedRequest {
    number: u64,
    texts: VecDeque<QueuedText>,
}

/// A text, and where its vector goes.
struct QueuedText {
    text: EncodedText,
    index: usize,
    output: Arc<Mutex<PendingOutput>>,
}

/// The vectors of a request, as they arrive.
struct PendingOutput {
    vectors: Vec<Vec<f32>>,
    missing: usize,
    submitted: Instant,
    /// When a worker took the first text.
    taken: Option<Instant>,
    /// `None` once the output is sent.
    sender: Option<oneshot::Sender<Result<QueueOutput>>>,
}

/// The handle of a waiting request. Dropping it removes the texts that no worker has taken.
struct Ticket<'q> {
    queue: &'q Queue,
    number: u64,
    receiver: oneshot::Receiver<Result<QueueOutput>>,
}

/// The vectors of a request in the order of its texts: one for each text, or those of its tokens.
pub(super) struct QueueOutput {
    pub(super) vectors: Vec<Vec<f32>>,
    /// From submission until a worker took the first text.
    pub(super) queueing: Duration,
    /// From then until the last vector.
    pub(super) computing: Duration,
}

/// A worker that waits for its queue, while the model is being loaded. It ends when it is dropped.
///
/// It is started with the server: a model that has loaded must not fail for lack of a thread.
pub(super) struct FirstWorker(Sender<Arc<Queue>>);

impl FirstWorker {
    /// Starts the worker.
    ///
    /// # Errors
    /// If the operating system creates no thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, receiver) = channel::<Arc<Queue>>();
        let work = move || receiver.into_iter().take(1).for_each(|queue| queue.work());
        worker_thread(0).spawn(work)?;
        Ok(Self(sender))
    }
}

fn worker_thread(index: usize) -> std::thread::Builder {
    std::thread::Builder::new().name(format!("likewise-worker-{index}"))
}

impl Queue {
    /// Starts the other workers, as many as the model has threads or as the operating system
    /// allows. Returns the queue and the number of workers.
    pub(super) fn start(
        model: Arc<Embedder>,
        limits: Limits,
        metrics: Arc<Metrics>,
        first: &FirstWorker,
    ) -> (Arc<Self>, usize) {
        let wanted = model.info().threads;
        let queue = Arc::new(Self { model, metrics, state: Mutex::default(), changed: Condvar::new(), limits });
        // The first worker waits for this.
        _ = first.0.send(queue.clone());
        let spawn = |i| {
            let worker = queue.clone();
            worker_thread(i).spawn(move || worker.work()).ok()
        };
        let others = (1..wanted).map_while(spawn).count();
        (queue, 1 + others)
    }

    /// Computes the vectors of some texts. If the caller stops waiting, texts that no worker has
    /// taken leave the queue.
    ///
    /// # Errors
    /// If the request has more tokens than the queue may hold, if the queue is full or closed, or
    /// if the computation fails.
    pub(super) async fn embed(&self, texts: Vec<EncodedText>) -> std::result::Result<QueueOutput, InferenceError> {
        let mut ticket = self.submit(texts)?;
        match (&mut ticket.receiver).await {
            Ok(output) => Ok(output?),
            Err(_) => Err(InferenceError::Panicked),
        }
    }

    /// The texts in the queue.
    pub(super) fn queued_texts(&self) -> usize {
        self.lock().requests.iter().map(|request| request.texts.len()).sum()
    }

    /// The tokens in the queue.
    pub(super) fn queued_tokens(&self) -> usize {
        self.lock().tokens
    }

    fn submit(&self, texts: Vec<EncodedText>) -> std::result::Result<Ticket<'_>, InferenceError> {
        let (sender, receiver) = oneshot::channel();
        let output = PendingOutput {
            vectors: vec![Vec::new(); texts.len()],
            missing: texts.len(),
            submitted: Instant::now(),
            taken: None,
            sender: Some(sender),
        };
        let output = Arc::new(Mutex::new(output));
        let tokens: usize = texts.iter().map(EncodedText::token_count).sum();
        let queued = |(index, text)| QueuedText { text, index, output: output.clone() };
        let texts = texts.into_iter().enumerate().map(queued).collect();
        let mut state = self.lock();
        if state.closed {
            return Err(InferenceError::ShuttingDown);
        }
        let limit = self.limits.max_queued_tokens;
        if tokens > ALWAYS_ADMITTED_TOKENS.max(limit) {
            return Err(InferenceError::Rejected(format!(
                "request contains {tokens} tokens; the limit is {limit} (--max-queued-tokens)"
            )));
        }
        if tokens > ALWAYS_ADMITTED_TOKENS && state.tokens + tokens > limit {
            return Err(InferenceError::Overloaded);
        }
        state.tokens += tokens;
        state.count += 1;
        let number = state.count;
        state.requests.push_back(QueuedRequest { number, texts });
        drop(state);
        self.changed.notify_all();
        Ok(Ticket { queue: self, number, receiver })
    }

    /// Accepts no more requests. Workers end when the queue is empty.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn work(&self) {
        while let Some((texts, as_team)) = self.take() {
            self.compute(&texts, as_team);
            self.lock().busy_workers -= 1;
        }
    }

    /// Takes the texts of the next batch, and decides whether all threads compute it as a team.
    /// Returns `None` when the queue is closed and empty.
    fn take(&self) -> Option<(Vec<QueuedText>, bool)> {
        let mut state = self.lock();
        loop {
            let texts = state.next_batch(self.limits.max_batch_tokens);
            if !texts.is_empty() {
                state.busy_workers += 1;
                let tokens = texts.iter().map(|queued| queued.text.token_count()).sum();
                let others_idle = state.busy_workers == 1 && state.requests.is_empty();
                // A long text alone would leave the other threads idle.
                let prefers_team = texts.len() == 1 || self.model.backbone().prefers_team(tokens);
                return Some((texts, others_idle && prefers_team));
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn compute(&self, texts: &[QueuedText], as_team: bool) {
        let batch: Vec<&EncodedText> = texts.iter().map(|queued| &queued.text).collect();
        self.metrics.batch_texts.observe(texts.len() as f64);
        self.metrics.batch_tokens.observe(batch.iter().map(|text| text.token_count()).sum::<usize>() as f64);
        // A panic is a bug; it must not fail the other requests of the batch.
        match catch_unwind(AssertUnwindSafe(|| self.model.run_batch(&batch, as_team))) {
            Ok(Ok(vectors)) => {
                texts.iter().zip(vectors).for_each(|(text, vector)| text.deliver(vector));
            }
            // One of the texts causes the failure. Computed alone, only that one fails again.
            Ok(Err(_)) | Err(_) if texts.len() > 1 => {
                for text in texts {
                    self.compute(std::slice::from_ref(text), false);
                }
            }
            Ok(Err(error)) => texts[0].fail(Some(error)),
            Err(_) => {
                tracing::error!("a computation panicked");
                texts[0].fail(None);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // The state is consistent between any two statements, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// Takes the texts of a batch of about `budget` tokens out of the queue. Requests take turns.
    fn next_batch(&mut self, budget: usize) -> Vec<QueuedText> {
        let mut batch = Vec::new();
        let mut size = 0;
        while size < budget
            && let Some(mut request) = self.requests.pop_front()
        {
            let mut turn = 0;
            let mut full = false;
            while turn < TOKENS_PER_TURN
                && let Some(queued) = request.texts.front()
            {
                let tokens = queued.text.token_count();
                full = size + tokens > budget && !batch.is_empty();
                if full {
                    break;
                }
                queued.lock_output().taken.get_or_insert_with(Instant::now);
                batch.extend(request.texts.pop_front());
                turn += tokens;
                size += tokens;
            }
            if !request.texts.is_empty() {
                if full {
                    // The request has not had its turn: it is the first in the next batch.
                    self.requests.push_front(request);
                } else {
                    self.requests.push_back(request);
                }
            }
            if full {
                break;
            }
        }
        self.tokens -= size;
        batch
    }
}

impl QueuedRequest {
    fn token_count(&self) -> usize {
        self.texts.iter().map(|queued| queued.text.token_count()).sum()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        // The request is not in the queue if workers have taken all its texts, as they have when
        // its output has arrived.
        if let Some(at) = state.requests.iter().position(|request| request.number == self.number) {
            let tokens = state.requests.remove(at).map_or(0, |request| request.token_count());
            state.tokens -= tokens;
        }
    }
}

impl QueuedText {
    fn lock_output(&self) -> MutexGuard<'_, PendingOutput> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the text's vector in the output, and sends the output if it is complete.
    fn deliver(&self, vector: Vec<f32>) {
        let mut output = self.lock_output();
        output.vectors[self.index] = vector;
        output.missing -= 1;
        if output.missing == 0
            && let Some(sender) = output.sender.take()
        {
            let taken = output.taken.unwrap_or(output.submitted);
            let vectors = std::mem::take(&mut output.vectors);
            let complete = QueueOutput { vectors, queueing: taken - output.submitted, computing: taken.elapsed() };
            // The client may have disconnected.
            drop(sender.send(Ok(complete)));
        }
    }

    /// Fails the request with an error, or with none if the computation panicked.
    fn fail(&self, error: Option<Error>) {
        let error = error.map(|error| match error {
            // The error has the text's index in the batch.
            Error::NotFinite { .. } => Error::NotFinite { text: self.index },
            error => error,
        });
        if let (Some(sender), Some(error)) = (self.lock_output().sender.take(), error) {
            drop(sender.send(Err(error)));
        }
    }
}
