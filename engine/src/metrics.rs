//! What an operator sees of the engine. Names begin with `fermata_`; times are in seconds.

use fermata_proto::ids::Partition;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// See the module.
pub struct Metrics {
    /// By operation and outcome.
    pub requests: IntCounterVec,
    pub transitions: IntCounter,
    pub commit_transitions: Histogram,
    pub commit_bytes: Histogram,
    pub append_seconds: Histogram,
    pub append_conflicts: IntCounter,
    pub takeovers: IntCounter,
    pub partitions_owned: IntGauge,
    /// By partition.
    pub loaded_runs: IntGaugeVec,
    /// By partition.
    pub cache_bytes: IntGaugeVec,
    /// By partition.
    pub deadlines: IntGaugeVec,
    /// By partition.
    pub outbox: IntGaugeVec,
    pub checkpoint_seconds: Histogram,
    /// By kind of task, observed when a worker claims it.
    pub schedule_to_start: HistogramVec,
    /// By kind of queue.
    pub dispatches: IntCounterVec,
}

impl Metrics {
    /// # Errors
    /// If the registry has a metric of the same name already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = || prometheus::exponential_buckets(0.000_25, 2.0, 16);
        let register = Register { registry };
        Ok(Self {
            requests: register.counters(
                "fermata_engine_requests_total",
                "Requests answered by partition owners.",
                &["operation", "outcome"],
            )?,
            transitions: register.counter("fermata_transitions_total", "Transitions decided.")?,
            commit_transitions: register.histogram(
                "fermata_commit_transitions",
                "Transitions in one commit.",
                prometheus::exponential_buckets(1.0, 2.0, 12)?,
            )?,
            commit_bytes: register.histogram(
                "fermata_commit_bytes",
                "Bytes of one commit.",
                prometheus::exponential_buckets(256.0, 2.0, 16)?,
            )?,
            append_seconds: register.histogram(
                "fermata_append_seconds",
                "From sending a commit to the log's acknowledgement.",
                seconds()?,
            )?,
            append_conflicts: register.counter(
                "fermata_append_conflicts_total",
                "Appends that met another owner's record.",
            )?,
            takeovers: register.counter("fermata_takeovers_total", "Partitions taken over.")?,
            partitions_owned: register.gauge(
                "fermata_partitions_owned",
                "Partitions that this replica owns.",
            )?,
            loaded_runs: register.gauges(
                "fermata_loaded_runs",
                "Workflow runs in memory.",
                &["partition"],
            )?,
            cache_bytes: register.gauges(
                "fermata_cache_bytes",
                "Estimated bytes of the runs in memory.",
                &["partition"],
            )?,
            deadlines: register.gauges(
                "fermata_pending_deadlines",
                "Armed deadlines, among them some that no longer stand.",
                &["partition"],
            )?,
            outbox: register.gauges(
                "fermata_outbox_pending",
                "Requests to other workflows that are not answered yet.",
                &["partition"],
            )?,
            checkpoint_seconds: register.histogram(
                "fermata_checkpoint_seconds",
                "Duration of one checkpoint.",
                seconds()?,
            )?,
            schedule_to_start: register.histograms(
                "fermata_schedule_to_start_seconds",
                "From scheduling a task to its claim by a worker.",
                seconds()?,
                &["kind"],
            )?,
            dispatches: register.counters(
                "fermata_dispatches_total",
                "Tasks put on queues.",
                &["queue"],
            )?,
        })
    }
}

impl Metrics {
    /// A partition is not ours any more: what was said of it no longer holds.
    pub fn forget(&self, partition: Partition) {
        let partition = partition.to_string();
        for gauge in [
            &self.loaded_runs,
            &self.cache_bytes,
            &self.deadlines,
            &self.outbox,
        ] {
            // Nothing was said of one that was lost before its first checkpoint.
            let _ = gauge.remove_label_values(&[&partition]);
        }
    }
}

struct Register<'a> {
    registry: &'a Registry,
}

impl Register<'_> {
    fn keep<T: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: T,
    ) -> Result<T, prometheus::Error> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.keep(IntGauge::new(name, help)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
    ) -> Result<Histogram, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(buckets);
        self.keep(Histogram::with_opts(opts)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::new(name, help).buckets(buckets);
        self.keep(HistogramVec::new(opts, labels)?)
    }
}
