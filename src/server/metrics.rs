//! What is counted, in the text format of Prometheus.
//!
//! Names that begin with `te_` are those of text-embeddings-inference and mean the same, so that its dashboards work.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// All counters of a server.
pub(in crate::server) struct Metrics {
    registry: Registry,
    /// Held while the states of the models are written anew, so that nobody reads them half-done.
    telling: Mutex<()>,
    /// Requests that asked a model for something, by whether they had one text or several.
    pub(in crate::server) requests: IntCounterVec,
    pub(in crate::server) successes: IntCounterVec,
    pub(in crate::server) failures: IntCounterVec,
    /// Answers of all routes.
    pub(in crate::server) answers: IntCounterVec,
    pub(in crate::server) duration: Histogram,
    pub(in crate::server) tokenizing: Histogram,
    pub(in crate::server) queueing: Histogram,
    pub(in crate::server) computing: Histogram,
    pub(in crate::server) text_tokens: Histogram,
    pub(in crate::server) texts: IntCounter,
    pub(in crate::server) model_texts: IntCounterVec,
    pub(in crate::server) model_tokens: IntCounterVec,
    pub(in crate::server) pass_texts: Histogram,
    pub(in crate::server) pass_tokens: Histogram,
    pub(in crate::server) cache_hits: IntCounter,
    pub(in crate::server) cache_misses: IntCounter,
    pub(in crate::server) in_flight: IntGauge,
    cache_bytes: IntGauge,
    queue_size: IntGaugeVec,
    waiting_tokens: IntGaugeVec,
    model_info: IntGaugeVec,
    model_state: IntGaugeVec,
}

/// A model at one moment.
pub(in crate::server) struct ModelSample<'a> {
    pub(in crate::server) name: &'a str,
    pub(in crate::server) state: &'static str,
    /// Labels of a model that is ready: architecture, precision, instructions, threads.
    pub(in crate::server) labels: Option<[String; 4]>,
    pub(in crate::server) waiting_texts: usize,
    pub(in crate::server) waiting_tokens: usize,
}

/// From a tenth of a millisecond to two minutes.
const SECONDS: [f64; 14] = [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0];

/// Tokens of a text or a pass, texts of a pass.
const SIZES: [f64; 13] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 192.0, 256.0, 384.0, 512.0, 1024.0];

impl Metrics {
    pub(in crate::server) fn new() -> Self {
        let made = MetricsBuilder(Registry::new());
        Self {
            requests: made.counters("te_request_count", "Requests to a model, by one text or several", &["method"]),
            successes: made.counters("te_request_success", "Requests to a model that were answered", &["method"]),
            failures: made.counters("te_request_failure", "Requests to a model that were refused, by kind", &["err"]),
            answers: made.counters("likewise_answer_count", "Answers by route and status", &["route", "status"]),
            duration: made.histogram("te_request_duration", "Seconds from request to answer", &SECONDS),
            tokenizing: made.histogram("te_request_tokenization_duration", "Seconds of tokenizing", &SECONDS),
            queueing: made.histogram("te_request_queue_duration", "Seconds until the first text's turn", &SECONDS),
            computing: made.histogram("te_request_inference_duration", "Seconds of computing", &SECONDS),
            text_tokens: made.histogram("te_request_input_length", "Tokens of a text, as they are read", &SIZES),
            texts: made.counter("te_embed_count", "Texts computed"),
            model_texts: made.counters("likewise_text_count", "Texts computed", &["model"]),
            model_tokens: made.counters("likewise_token_count", "Tokens computed", &["model"]),
            pass_texts: made.histogram("te_batch_next_size", "Texts of a pass", &SIZES),
            pass_tokens: made.histogram("te_batch_next_tokens", "Tokens of a pass", &SIZES),
            cache_hits: made.counter("likewise_cache_hits", "Answers that came from the cache"),
            cache_misses: made.counter("likewise_cache_misses", "Answers that were looked for in the cache in vain"),
            in_flight: made.gauge("likewise_requests_in_flight", "Requests to a model that are being answered"),
            cache_bytes: made.gauge("likewise_cache_bytes", "Bytes in the cache"),
            queue_size: made.gauges("te_queue_size", "Texts that wait", &["model"]),
            waiting_tokens: made.gauges("likewise_waiting_tokens", "Tokens that wait", &["model"]),
            model_info: made.gauges(
                "likewise_model_info",
                "A model that is ready, and how it computes",
                &["model", "architecture", "precision", "instructions", "threads"],
            ),
            model_state: made.gauges("likewise_model_state", "1 for the state that a model is in", &["model", "state"]),
            telling: Mutex::default(),
            registry: made.0,
        }
    }

    /// All of them as text, with what is only known when one looks.
    pub(in crate::server) fn text(&self, cache_bytes: u64, models: &[ModelSample<'_>]) -> prometheus::Result<String> {
        let _alone = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        self.cache_bytes.set(cache_bytes as i64);
        // A model that has changed its state must not be in two.
        self.model_state.reset();
        for model in models {
            self.model_state.with_label_values(&[model.name, model.state]).set(1);
            self.queue_size.with_label_values(&[model.name]).set(model.waiting_texts as i64);
            self.waiting_tokens.with_label_values(&[model.name]).set(model.waiting_tokens as i64);
            if let Some([architecture, precision, instructions, threads]) = &model.labels {
                let labels = [model.name, architecture, precision, instructions, threads];
                self.model_info.with_label_values(&labels).set(1);
            }
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Makes metrics and registers them.
struct MetricsBuilder(Registry);

impl MetricsBuilder {
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(Opts::new(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(Opts::new(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        // Names, labels and buckets are written above and nowhere else: a test makes them all.
        let metric = metric.expect("a metric of ours is well formed");
        self.0.register(Box::new(metric.clone())).expect("a metric of ours has a name of its own");
        metric
    }
}

/// How long the parts of an answer took.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct StageTimes {
    pub(in crate::server) tokenizing: Duration,
    pub(in crate::server) queueing: Duration,
    pub(in crate::server) computing: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_in_one_state() {
        let metrics = Metrics::new();
        let sample = |state| ModelSample { name: "m", state, labels: None, waiting_texts: 3, waiting_tokens: 70 };
        let before = metrics.text(5, &[sample("loading")]).expect("text");
        assert!(before.contains("likewise_model_state{model=\"m\",state=\"loading\"} 1"), "{before}");
        let after = metrics.text(5, &[sample("ready")]).expect("text");
        assert!(!after.contains("loading"), "{after}");
        for line in
            ["te_queue_size{model=\"m\"} 3", "likewise_waiting_tokens{model=\"m\"} 70", "likewise_cache_bytes 5"]
        {
            assert!(after.contains(line), "{line} in {after}");
        }
    }
}
