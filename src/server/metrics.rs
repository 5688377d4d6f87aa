//! Metrics in the text format of Prometheus.
//!
//! Names that begin with `te_` have the same meaning as in text-embeddings-inference, so that its
//! dashboards work.

use std::sync::{Mutex, PoisonError};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Upper bounds of durations, in seconds.
const BUCKETS_SECONDS: [f64; 14] =
    [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0];

/// Upper bounds of the tokens of a text, and of the texts and tokens of a batch.
const BUCKETS_COUNT: [f64; 13] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 192.0, 256.0, 384.0, 512.0, 1024.0];

/// All metrics of a server.
pub(in crate::server) struct Metrics {
    registry: Registry,
    /// Held while the state of each model is updated, so that no client sees half of an update.
    update: Mutex<()>,
    /// Requests to a model, by whether they have one text or several.
    pub(in crate::server) requests: IntCounterVec,
    pub(in crate::server) successes: IntCounterVec,
    pub(in crate::server) failures: IntCounterVec,
    /// Responses of all routes.
    pub(in crate::server) responses: IntCounterVec,
    pub(in crate::server) duration: Histogram,
    pub(in crate::server) tokenizing: Histogram,
    pub(in crate::server) queueing: Histogram,
    pub(in crate::server) computing: Histogram,
    pub(in crate::server) text_tokens: Histogram,
    pub(in crate::server) texts: IntCounter,
    pub(in crate::server) model_texts: IntCounterVec,
    pub(in crate::server) model_tokens: IntCounterVec,
    pub(in crate::server) batch_texts: Histogram,
    pub(in crate::server) batch_tokens: Histogram,
    pub(in crate::server) cache_hits: IntCounter,
    pub(in crate::server) cache_misses: IntCounter,
    pub(in crate::server) in_flight: IntGauge,
    cache_bytes: IntGauge,
    queue_size: IntGaugeVec,
    queued_tokens: IntGaugeVec,
    model_info: IntGaugeVec,
    model_state: IntGaugeVec,
}

/// What the metrics report about a model at one moment.
pub(in crate::server) struct ModelSample {
    pub(in crate::server) name: String,
    pub(in crate::server) state: &'static str,
    /// `None` unless the model is ready.
    pub(in crate::server) labels: Option<ModelLabels>,
    pub(in crate::server) queued_texts: usize,
    pub(in crate::server) queued_tokens: usize,
}

/// The labels of a model that is ready.
pub(in crate::server) struct ModelLabels {
    pub(in crate::server) architecture: String,
    pub(in crate::server) kind: &'static str,
    pub(in crate::server) precision: String,
    pub(in crate::server) simd: String,
    pub(in crate::server) threads: String,
}

impl Metrics {
    pub(in crate::server) fn new() -> Self {
        let b = MetricsBuilder(Registry::new());
        Self {
            requests: b.counters("te_request_count", "Requests to a model, by single text or batch", &["method"]),
            successes: b.counters("te_request_success", "Requests to a model that succeeded", &["method"]),
            failures: b.counters("te_request_failure", "Requests to a model that failed, by error type", &["err"]),
            responses: b.counters("likewise_response_count", "Responses by route and status", &["route", "status"]),
            duration: b.histogram("te_request_duration", "Seconds from request to response", &BUCKETS_SECONDS),
            tokenizing: b.histogram("te_request_tokenization_duration", "Seconds of tokenization", &BUCKETS_SECONDS),
            queueing: b.histogram("te_request_queue_duration", "Seconds in the queue", &BUCKETS_SECONDS),
            computing: b.histogram("te_request_inference_duration", "Seconds of computation", &BUCKETS_SECONDS),
            text_tokens: b.histogram("te_request_input_length", "Tokens of a text, after truncation", &BUCKETS_COUNT),
            texts: b.counter("te_embed_count", "Texts computed"),
            model_texts: b.counters("likewise_text_count", "Texts computed, by model", &["model"]),
            model_tokens: b.counters("likewise_token_count", "Tokens computed, by model", &["model"]),
            batch_texts: b.histogram("te_batch_next_size", "Texts of a batch", &BUCKETS_COUNT),
            batch_tokens: b.histogram("te_batch_next_tokens", "Tokens of a batch", &BUCKETS_COUNT),
            cache_hits: b.counter("likewise_cache_hits", "Responses found in the cache"),
            cache_misses: b.counter("likewise_cache_misses", "Responses not found in the cache"),
            in_flight: b.gauge("likewise_requests_in_flight", "Requests to a model in flight"),
            cache_bytes: b.gauge("likewise_cache_bytes", "Bytes in the cache"),
            queue_size: b.gauges("te_queue_size", "Texts in the queue", &["model"]),
            queued_tokens: b.gauges("likewise_queued_tokens", "Tokens in the queue", &["model"]),
            model_info: b.gauges(
                "likewise_model_info",
                "1 for a model that is ready, with its configuration",
                &["model", "architecture", "kind", "precision", "simd", "threads"],
            ),
            model_state: b.gauges("likewise_model_state", "1 for the current state of a model", &["model", "state"]),
            update: Mutex::default(),
            registry: b.0,
        }
    }

    /// All metrics as text, with the current state of the cache and the models.
    pub(in crate::server) fn text(&self, cache_bytes: u64, models: &[ModelSample]) -> prometheus::Result<String> {
        let _guard = self.update.lock().unwrap_or_else(PoisonError::into_inner);
        self.cache_bytes.set(cache_bytes as i64);
        // A model whose state has changed must not be reported in two states.
        self.model_state.reset();
        for model in models {
            let name = model.name.as_str();
            self.model_state.with_label_values(&[name, model.state]).set(1);
            self.queue_size.with_label_values(&[name]).set(model.queued_texts as i64);
            self.queued_tokens.with_label_values(&[name]).set(model.queued_tokens as i64);
            if let Some(ModelLabels { architecture, kind, precision, simd, threads }) = &model.labels {
                self.model_info.with_label_values(&[name, architecture, kind, precision, simd, threads]).set(1);
            }
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Creates metrics and registers them.
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
        // All names, labels and buckets are constants of this file, and a test creates every
        // metric.
        let metric = metric.expect("metrics are well formed");
        self.0.register(Box::new(metric.clone())).expect("metric names are unique");
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_state_after_a_change_is_reported_once() {
        let metrics = Metrics::new();
        let sample =
            |state| ModelSample { name: "m".to_owned(), state, labels: None, queued_texts: 3, queued_tokens: 70 };
        let before = metrics.text(5, &[sample("loading")]).expect("text");
        assert!(before.contains("likewise_model_state{model=\"m\",state=\"loading\"} 1"), "{before}");
        let after = metrics.text(5, &[sample("ready")]).expect("text");
        assert!(!after.contains("loading"), "{after}");
        for line in ["te_queue_size{model=\"m\"} 3", "likewise_queued_tokens{model=\"m\"} 70", "likewise_cache_bytes 5"]
        {
            assert!(after.contains(line), "{line} in {after}");
        }
    }
}
