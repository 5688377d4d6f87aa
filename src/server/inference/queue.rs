//! Batches the inputs of many requests: texts for an embedder or a sparse encoder, pairs of texts
//! for a cross-encoder.
//!
//! A request puts its inputs into the model's queue and waits for their rows: vectors or scores.
//! The model has as many workers as threads. Each worker takes the inputs of one batch out of the
//! queue, whichever requests they belong to. Batching never changes a response, because the row of
//! an input has the same bits in any batch.
//!
//! Requests take turns. In each turn a request may add about [`TOKENS_PER_TURN`] tokens to the next
//! batch, so a request with ten thousand sentences does not delay one with a single sentence.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::batch_model::BatchModel;
use super::error::InferenceError;
use crate::error::{CrossEncoderError, Error, Result};
use crate::server::metrics::Metrics;
use crate::server::settings::Limits;

/// Tokens that a request may add to a batch before it is the next request's turn.
const TOKENS_PER_TURN: usize = 64;

/// A request of at most this many tokens is always admitted, so a few large requests never lock out
/// all small ones. The number of requests in flight is limited elsewhere.
const ALWAYS_ADMITTED_TOKENS: usize = 4 * TOKENS_PER_TURN;

/// The queue of one model.
pub(in crate::server) struct Queue<M: BatchModel> {
    model: Arc<M>,
    metrics: Arc<Metrics>,
    state: Mutex<QueueState<M>>,
    changed: Condvar,
    limits: Limits,
}

struct QueueState<M: BatchModel> {
    requests: VecDeque<QueuedRequest<M>>,
    /// The number of requests so far.
    count: u64,
    /// Tokens in the queue.
    tokens: usize,
    /// Workers that are computing a batch.
    busy_workers: usize,
    /// Whether the queue accepts no more requests.
    closed: bool,
}

/// The inputs of a request that no worker has taken yet.
struct QueuedRequest<M: BatchModel> {
    number: u64,
    inputs: VecDeque<QueuedInput<M>>,
}

/// An input, and where its row goes.
struct QueuedInput<M: BatchModel> {
    input: M::Input,
    index: usize,
    output: Arc<Mutex<PendingOutput<M::Row>>>,
}

/// The rows of a request, as they arrive.
struct PendingOutput<R> {
    rows: Vec<R>,
    missing: usize,
    submitted: Instant,
    /// When a worker took the first input.
    taken: Option<Instant>,
    /// `None` once the output is sent.
    sender: Option<oneshot::Sender<Result<QueueOutput<R>>>>,
}

/// The handle of a waiting request. Dropping it removes the inputs that no worker has taken.
struct Ticket<'q, M: BatchModel> {
    queue: &'q Queue<M>,
    number: u64,
    receiver: oneshot::Receiver<Result<QueueOutput<M::Row>>>,
}

/// The rows of a request in the order of its inputs.
pub(super) struct QueueOutput<R> {
    pub(super) rows: Vec<R>,
    /// From submission until a worker took the first input.
    pub(super) queueing: Duration,
    /// From then until the last row.
    pub(super) computing: Duration,
}

/// A worker that waits for its queue, while the model is being loaded. It ends when it is dropped.
///
/// It is started with the server: a model that has loaded must not fail for lack of a thread. The
/// kind of the model is not known by then, so it waits for a function.
pub(super) struct FirstWorker(Sender<Box<dyn FnOnce() + Send>>);

impl FirstWorker {
    /// Starts the worker.
    ///
    /// # Errors
    /// If the operating system creates no thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, receiver) = channel::<Box<dyn FnOnce() + Send>>();
        let work = move || receiver.into_iter().take(1).for_each(|work| work());
        worker_thread(0).spawn(work)?;
        Ok(Self(sender))
    }
}

fn worker_thread(index: usize) -> std::thread::Builder {
    std::thread::Builder::new().name(format!("likewise-worker-{index}"))
}

impl<M: BatchModel> Queue<M> {
    /// Starts the other workers, as many as the model has threads or as the operating system
    /// allows. Returns the queue and the number of workers.
    pub(super) fn start(
        model: Arc<M>,
        limits: Limits,
        metrics: Arc<Metrics>,
        first: &FirstWorker,
    ) -> (Arc<Self>, usize) {
        let wanted = model.runtime().thread_pool().size();
        let state = QueueState { requests: VecDeque::new(), count: 0, tokens: 0, busy_workers: 0, closed: false };
        let queue = Arc::new(Self { model, metrics, state: Mutex::new(state), changed: Condvar::new(), limits });
        // The first worker waits for this.
        let worker = queue.clone();
        _ = first.0.send(Box::new(move || worker.work()));
        let spawn = |i| {
            let worker = queue.clone();
            worker_thread(i).spawn(move || worker.work()).ok()
        };
        let others = (1..wanted).map_while(spawn).count();
        (queue, 1 + others)
    }

    /// Computes the rows of some inputs. If the caller stops waiting, inputs that no worker has
    /// taken leave the queue.
    ///
    /// # Errors
    /// If the request has more tokens than the queue may hold, if the queue is full or closed, or
    /// if the computation fails.
    pub(super) async fn compute(
        &self,
        inputs: Vec<M::Input>,
    ) -> std::result::Result<QueueOutput<M::Row>, InferenceError> {
        let mut ticket = self.submit(inputs)?;
        match (&mut ticket.receiver).await {
            Ok(output) => Ok(output?),
            Err(_) => Err(InferenceError::Panicked),
        }
    }

    /// The inputs in the queue.
    pub(super) fn queued_inputs(&self) -> usize {
        self.lock().requests.iter().map(|request| request.inputs.len()).sum()
    }

    /// The tokens in the queue.
    pub(super) fn queued_tokens(&self) -> usize {
        self.lock().tokens
    }

    fn submit(&self, inputs: Vec<M::Input>) -> std::result::Result<Ticket<'_, M>, InferenceError> {
        let (sender, receiver) = oneshot::channel();
        let output = PendingOutput {
            rows: inputs.iter().map(|_| M::Row::default()).collect(),
            missing: inputs.len(),
            submitted: Instant::now(),
            taken: None,
            sender: Some(sender),
        };
        let output = Arc::new(Mutex::new(output));
        let tokens: usize = inputs.iter().map(M::token_count).sum();
        let queued = |(index, input)| QueuedInput { input, index, output: output.clone() };
        let inputs = inputs.into_iter().enumerate().map(queued).collect();
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
        state.requests.push_back(QueuedRequest { number, inputs });
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
        while let Some((inputs, as_team)) = self.take() {
            self.compute_batch(&inputs, as_team);
            self.lock().busy_workers -= 1;
        }
    }

    /// Takes the inputs of the next batch, and decides whether all threads compute it as a team.
    /// Returns `None` when the queue is closed and empty.
    fn take(&self) -> Option<(Vec<QueuedInput<M>>, bool)> {
        let mut state = self.lock();
        loop {
            let inputs = state.next_batch(self.limits.max_batch_tokens);
            if !inputs.is_empty() {
                state.busy_workers += 1;
                let tokens = inputs.iter().map(QueuedInput::token_count).sum();
                let others_idle = state.busy_workers == 1 && state.requests.is_empty();
                // A long input alone would leave the other threads idle.
                let prefers_team = inputs.len() == 1 || self.model.runtime().prefers_team(tokens);
                return Some((inputs, others_idle && prefers_team));
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn compute_batch(&self, inputs: &[QueuedInput<M>], as_team: bool) {
        let batch: Vec<&M::Input> = inputs.iter().map(|queued| &queued.input).collect();
        self.metrics.batch_texts.observe(inputs.len() as f64);
        self.metrics.batch_tokens.observe(inputs.iter().map(QueuedInput::token_count).sum::<usize>() as f64);
        // A panic is a bug; it must not fail the other requests of the batch.
        match catch_unwind(AssertUnwindSafe(|| self.model.run_batch(&batch, as_team))) {
            Ok(Ok(rows)) => {
                inputs.iter().zip(rows).for_each(|(input, row)| input.deliver(row));
            }
            // One of the inputs causes the failure. Computed alone, only that one fails again.
            Ok(Err(_)) | Err(_) if inputs.len() > 1 => {
                for input in inputs {
                    self.compute_batch(std::slice::from_ref(input), false);
                }
            }
            Ok(Err(error)) => inputs[0].fail(Some(error)),
            Err(_) => {
                tracing::error!("a computation panicked");
                inputs[0].fail(None);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<M>> {
        // The state is consistent between any two statements, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: BatchModel> QueueState<M> {
    /// Takes the inputs of a batch of about `budget` tokens out of the queue. Requests take turns.
    fn next_batch(&mut self, budget: usize) -> Vec<QueuedInput<M>> {
        let mut batch = Vec::new();
        let mut size = 0;
        while size < budget
            && let Some(mut request) = self.requests.pop_front()
        {
            let mut turn = 0;
            let mut full = false;
            while turn < TOKENS_PER_TURN
                && let Some(queued) = request.inputs.front()
            {
                let tokens = queued.token_count();
                full = size + tokens > budget && !batch.is_empty();
                if full {
                    break;
                }
                queued.lock_output().taken.get_or_insert_with(Instant::now);
                batch.extend(request.inputs.pop_front());
                turn += tokens;
                size += tokens;
            }
            if !request.inputs.is_empty() {
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

impl<M: BatchModel> QueuedRequest<M> {
    fn token_count(&self) -> usize {
        self.inputs.iter().map(QueuedInput::token_count).sum()
    }
}

impl<M: BatchModel> Drop for Ticket<'_, M> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        // The request is not in the queue if workers have taken all its inputs, as they have when
        // its output has arrived.
        if let Some(at) = state.requests.iter().position(|request| request.number == self.number) {
            let tokens = state.requests.remove(at).map_or(0, |request| request.token_count());
            state.tokens -= tokens;
        }
    }
}

impl<M: BatchModel> QueuedInput<M> {
    fn token_count(&self) -> usize {
        M::token_count(&self.input)
    }

    fn lock_output(&self) -> MutexGuard<'_, PendingOutput<M::Row>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the input's row in the output, and sends the output if it is complete.
    fn deliver(&self, row: M::Row) {
        let mut output = self.lock_output();
        output.rows[self.index] = row;
        output.missing -= 1;
        if output.missing == 0
            && let Some(sender) = output.sender.take()
        {
            let taken = output.taken.unwrap_or(output.submitted);
            let rows = std::mem::take(&mut output.rows);
            let complete = QueueOutput { rows, queueing: taken - output.submitted, computing: taken.elapsed() };
            // The client may have disconnected.
            drop(sender.send(Ok(complete)));
        }
    }

    /// Fails the request with an error, or with none if the computation panicked.
    fn fail(&self, error: Option<Error>) {
        let error = error.map(|error| match error {
            // The error has the input's index in the batch.
            Error::NotFinite { .. } => Error::NotFinite { text: self.index },
            Error::CrossEncoder(error) if matches!(*error, CrossEncoderError::NotFinite { .. }) => {
                Error::CrossEncoder(Box::new(CrossEncoderError::NotFinite { pair: self.index }))
            }
            error => error,
        });
        if let (Some(sender), Some(error)) = (self.lock_output().sender.take(), error) {
            drop(sender.send(Err(error)));
        }
    }
}
