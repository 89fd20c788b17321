//! What an operator's tools read: readiness and Prometheus metrics.

use std::time::Duration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Says what keeps this process from serving.
pub trait Readiness: Send + Sync + 'static {
    /// Why the process is not ready, a line each; empty if it is.
    fn not_ready(&self) -> Vec<String>;
}

/// Ready from the start; for tests and tools.
pub struct AlwaysReady;

impl Readiness for AlwaysReady {
    fn not_ready(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Bounds of the request histogram in seconds: from a tenth of a millisecond to a long poll's minute.
const LATENCY_BOUNDS: [f64; 16] = [
    0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
    60.0,
];

/// Counts of calls; clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    latency: HistogramVec,
    in_flight: IntGaugeVec,
}

impl Metrics {
    /// # Errors
    /// If the registry already has metrics of these names.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "fermata_api_requests_total",
                "Calls answered, by operation and outcome (a gRPC code)",
            ),
            &["operation", "outcome"],
        )?;
        let latency = HistogramVec::new(
            HistogramOpts::new(
                "fermata_api_request_seconds",
                "Time from a call to its answer, long polls included",
            )
            .buckets(LATENCY_BOUNDS.to_vec()),
            &["operation"],
        )?;
        let in_flight = IntGaugeVec::new(
            Opts::new("fermata_api_requests_in_flight", "Calls not yet answered"),
            &["operation"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(latency.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Self {
            registry: registry.clone(),
            requests,
            latency,
            in_flight,
        })
    }

    /// A call has begun. It counts as CANCELLED if the answer is dropped before [`InFlight::end`].
    pub(crate) fn begin(&self, operation: &str) -> InFlight {
        self.in_flight.with_label_values(&[operation]).inc();
        InFlight {
            metrics: self.clone(),
            operation: operation.to_owned(),
            outcome: "CANCELLED",
        }
    }

    /// Everything in the registry in Prometheus' text format.
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

/// A call that is being answered.
pub(crate) struct InFlight {
    metrics: Metrics,
    operation: String,
    outcome: &'static str,
}

impl InFlight {
    pub(crate) fn end(mut self, outcome: &'static str, took: Duration) {
        self.outcome = outcome;
        self.metrics
            .latency
            .with_label_values(&[&self.operation])
            .observe(took.as_secs_f64());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics
            .in_flight
            .with_label_values(&[&self.operation])
            .dec();
        self.metrics
            .requests
            .with_label_values(&[self.operation.as_str(), self.outcome])
            .inc();
    }
}
