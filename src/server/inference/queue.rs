//! Texts of many requests, computed together.
//!
//! A request puts its texts in the queue and waits for their vectors. As many workers as the model has threads take texts
//! out, a pass full at a time, whoever they belong to. That the texts of several requests share a pass cannot be seen in
//! the answers: a text's vector has the same bits in any company.
//!
//! Requests take turns. Each turn a request may put some sixty tokens into the next pass, so that one with ten thousand
//! sentences does not keep one with a single sentence waiting.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::embedder::{Embedder, EncodedText};
use crate::error::{Error, Result};
use crate::server::Limits;
use crate::server::api::error::ApiError;
use crate::server::metrics::Metrics;

/// Tokens of one request that go into a pass before the next request has its turn.
const TOKENS_PER_TURN: usize = 64;

/// A request of so few tokens is always taken: how many of these there are at a time is limited elsewhere, and so a few large
/// requests never shut out all others.
const ALWAYS_ADMITTED_TOKENS: usize = 4 * TOKENS_PER_TURN;

/// The queue of one model.
pub(in crate::server) struct Queue {
    model: Arc<Embedder>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    changed: Condvar,
    limits: Limits,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<QueuedRequest>,
    /// How many jobs there have been.
    count: u64,
    /// Tokens that wait.
    tokens: usize,
    /// Workers that compute.
    working: usize,
    /// No more jobs will come.
    closed: bool,
}

/// A request's texts that nobody has taken yet.
struct QueuedRequest {
    number: u64,
    texts: VecDeque<QueuedText>,
}

/// A request that waits for its answer. If it is dropped, what nobody has taken yet leaves the queue.
struct Ticket<'q> {
    queue: &'q Queue,
    number: u64,
    answer: oneshot::Receiver<Result<QueueOutput>>,
}

/// The vectors of a request, text after text: of each text, or of its tokens.
pub(in crate::server) struct QueueOutput {
    pub(in crate::server) vectors: Vec<Vec<f32>>,
    /// Until the first text was taken.
    pub(in crate::server) queueing: Duration,
    /// From then on.
    pub(in crate::server) computing: Duration,
}

/// A text, and where its vector goes.
struct QueuedText {
    ready: EncodedText,
    index: usize,
    answer: Arc<Mutex<PendingOutput>>,
}

/// The vectors of a request, as they arrive.
struct PendingOutput {
    vectors: Vec<Vec<f32>>,
    missing: usize,
    submitted: Instant,
    taken: Option<Instant>,
    /// None once it is sent.
    reply: Option<oneshot::Sender<Result<QueueOutput>>>,
}

impl Queue {
    /// Starts the workers.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(in crate::server) fn start(
        model: Arc<Embedder>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Arc<Self>> {
        let workers = model.info().threads;
        let queue = Arc::new(Self { model, metrics, state: Mutex::default(), changed: Condvar::new(), limits });
        for i in 0..workers {
            let worker = std::thread::Builder::new().name(format!("likewise-worker-{i}"));
            let theirs = queue.clone();
            // Those that were started end when the queue is closed.
            worker.spawn(move || theirs.work()).inspect_err(|_| queue.close())?;
        }
        Ok(queue)
    }

    /// The vectors of some texts. If the caller stops waiting, what nobody has taken leaves the queue.
    ///
    /// # Errors
    /// 422 if it is more than may ever wait, 429 if too much is waiting, 503 if the queue is closed, 500 if a vector is not finite.
    pub(in crate::server) async fn embed(&self, texts: Vec<EncodedText>) -> std::result::Result<QueueOutput, ApiError> {
        let mut waiting = self.submit(texts)?;
        match (&mut waiting.answer).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(ApiError::mistake()),
        }
    }

    /// Texts and tokens that wait.
    pub(in crate::server) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.jobs.iter().map(|job| job.texts.len()).sum(), state.tokens)
    }

    fn submit(&self, texts: Vec<EncodedText>) -> std::result::Result<Ticket<'_>, ApiError> {
        let (reply, receiver) = oneshot::channel();
        let answer = PendingOutput {
            vectors: vec![Vec::new(); texts.len()],
            missing: texts.len(),
            submitted: Instant::now(),
            taken: None,
            reply: Some(reply),
        };
        let answer = Arc::new(Mutex::new(answer));
        let tokens: usize = texts.iter().map(EncodedText::tokens).sum();
        let text = |(index, ready)| QueuedText { ready, index, answer: answer.clone() };
        let texts = texts.into_iter().enumerate().map(text).collect();
        let mut state = self.lock();
        if state.closed {
            return Err(ApiError::unavailable("the server is about to end"));
        }
        let limit = self.limits.waiting_tokens;
        if tokens > ALWAYS_ADMITTED_TOKENS.max(limit) {
            return Err(ApiError::unprocessable(format!("{tokens} tokens in one request; at most {limit} are taken")));
        }
        if tokens > ALWAYS_ADMITTED_TOKENS && state.tokens + tokens > limit {
            return Err(ApiError::overloaded());
        }
        state.tokens += tokens;
        state.count += 1;
        let number = state.count;
        state.jobs.push_back(QueuedRequest { number, texts });
        drop(state);
        self.changed.notify_all();
        Ok(Ticket { queue: self, number, answer: receiver })
    }

    /// Takes no more jobs; workers end when all are done.
    pub(in crate::server) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn work(&self) {
        while let Some((texts, together)) = self.take() {
            self.compute(&texts, together);
            self.lock().working -= 1;
        }
    }

    /// The texts of the next pass, and whether all threads should make it together. None at the end.
    fn take(&self) -> Option<(Vec<QueuedText>, bool)> {
        let mut state = self.lock();
        loop {
            let texts = state.next(self.limits.batch_tokens);
            if !texts.is_empty() {
                state.working += 1;
                let tokens = texts.iter().map(|text| text.ready.tokens()).sum();
                let idle = state.working == 1 && state.jobs.is_empty();
                return Some((texts, idle && self.model.is_few(tokens)));
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn compute(&self, texts: &[QueuedText], together: bool) {
        let ready: Vec<&EncodedText> = texts.iter().map(|text| &text.ready).collect();
        self.metrics.pass_texts.observe(texts.len() as f64);
        self.metrics.pass_tokens.observe(ready.iter().map(|ready| ready.tokens()).sum::<usize>() as f64);
        // A panic is our mistake; it must not take the requests of others with it.
        match catch_unwind(AssertUnwindSafe(|| self.model.pass(&ready, together))) {
            Ok(Ok(vectors)) => {
                texts.iter().zip(vectors).for_each(|(text, vector)| text.deliver(vector));
            }
            // Only one of them is to blame, and alone it fails again.
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // What it guards is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes texts for one pass of about `budget` tokens out of the queue; requests take turns.
    fn next(&mut self, budget: usize) -> Vec<QueuedText> {
        let mut pass = Vec::new();
        let mut size = 0;
        while size < budget
            && let Some(mut job) = self.jobs.pop_front()
        {
            let mut turn = 0;
            let mut full = false;
            while turn < TOKENS_PER_TURN
                && let Some(text) = job.texts.front()
            {
                let tokens = text.ready.tokens();
                full = size + tokens > budget && !pass.is_empty();
                if full {
                    break;
                }
                text.answer().taken.get_or_insert_with(Instant::now);
                pass.extend(job.texts.pop_front());
                turn += tokens;
                size += tokens;
            }
            match (job.texts.is_empty(), full) {
                (true, _) => {}
                // It has not had its turn: it is the first in the next pass.
                (false, true) => self.jobs.push_front(job),
                (false, false) => self.jobs.push_back(job),
            }
            if full {
                break;
            }
        }
        self.tokens -= size;
        pass
    }
}

impl QueuedRequest {
    fn tokens(&self) -> usize {
        self.texts.iter().map(|text| text.ready.tokens()).sum()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        // Not there if all of it has been taken, as it is when the answer has come.
        if let Some(at) = state.jobs.iter().position(|job| job.number == self.number) {
            let left = state.jobs.remove(at).map_or(0, |job| job.tokens());
            state.tokens -= left;
        }
    }
}

impl QueuedText {
    fn answer(&self) -> MutexGuard<'_, PendingOutput> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts its vector into the answer, and sends that if it is complete.
    fn deliver(&self, vector: Vec<f32>) {
        let mut answer = self.answer();
        answer.vectors[self.index] = vector;
        answer.missing -= 1;
        if answer.missing == 0
            && let Some(reply) = answer.reply.take()
        {
            let taken = answer.taken.unwrap_or(answer.submitted);
            let (queueing, computing) = (taken - answer.submitted, taken.elapsed());
            // Nobody may be waiting any more.
            drop(reply.send(Ok(QueueOutput { vectors: std::mem::take(&mut answer.vectors), queueing, computing })));
        }
    }

    /// Ends the request with an error, or with none if the computation panicked.
    fn fail(&self, error: Option<Error>) {
        let error = error.map(|error| match error {
            // The pass knows it by its place there.
            Error::NotFinite { .. } => Error::NotFinite { text: self.index },
            error => error,
        });
        if let (Some(reply), Some(error)) = (self.answer().reply.take(), error) {
            drop(reply.send(Err(error)));
        }
    }
}
