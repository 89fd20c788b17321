//! What a worker counts and measures, for Prometheus; and serving it on an address of its own.
//!
//! Every metric carries the task queue, so that several workers of a process can share a registry.

use std::net::SocketAddr;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Inner;
use super::drive::slots_used;

const REQUEST_BYTES_MAX: usize = 8 << 10;
/// A scraper that says nothing for so long is let go.
const SCRAPE_MAX: Duration = Duration::from_secs(5);
const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0,
];

/// See the module.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub polls: IntCounterVec,
    pub activity_seconds: HistogramVec,
    pub activity_ends: IntCounterVec,
    pub workflow_task_seconds: HistogramVec,
    pub workflow_task_failures: IntCounterVec,
    pub cache: IntCounterVec,
}

/// How much the caches of all lanes hold.
#[derive(Debug, Default)]
pub(crate) struct CacheSize {
    pub runs: AtomicUsize,
    pub bytes: AtomicUsize,
}

impl Metrics {
    /// # Errors
    /// If `registry` has those of a worker on the same task queue already.
    pub fn register(registry: &Registry, task_queue: &str) -> Result<Self, prometheus::Error> {
        let options =
            |name: &str, help: &str| Opts::new(name, help).const_label("task_queue", task_queue);
        let histogram = |name: &str, help: &str| {
            HistogramOpts::from(options(name, help)).buckets(SECONDS.into())
        };
        let metrics = Self {
            polls: IntCounterVec::new(
                options(
                    "fermata_worker_polls_total",
                    "Polls that ended, by what they gave.",
                ),
                &["kind", "outcome"],
            )?,
            activity_seconds: HistogramVec::new(
                histogram("fermata_worker_activity_seconds", "How long attempts ran."),
                &["activity_type"],
            )?,
            activity_ends: IntCounterVec::new(
                options(
                    "fermata_worker_activity_ends_total",
                    "Attempts by how they ended.",
                ),
                &["activity_type", "outcome"],
            )?,
            workflow_task_seconds: HistogramVec::new(
                histogram(
                    "fermata_worker_workflow_task_seconds",
                    "From taking a workflow task to the engine's answer.",
                ),
                &["workflow_type"],
            )?,
            workflow_task_failures: IntCounterVec::new(
                options(
                    "fermata_worker_workflow_task_failures_total",
                    "Workflow tasks that failed here.",
                ),
                &["workflow_type"],
            )?,
            cache: IntCounterVec::new(
                options(
                    "fermata_worker_cache_total",
                    "Workflow tasks that went on with a run in memory (hit) or needed its whole history (miss).",
                ),
                &["outcome"],
            )?,
        };
        for collector in [
            Box::new(metrics.polls.clone()) as Box<dyn Collector>,
            Box::new(metrics.activity_seconds.clone()),
            Box::new(metrics.activity_ends.clone()),
            Box::new(metrics.workflow_task_seconds.clone()),
            Box::new(metrics.workflow_task_failures.clone()),
            Box::new(metrics.cache.clone()),
        ] {
            registry.register(collector)?;
        }
        Ok(metrics)
    }
}

/// Gauges that are read from the worker when somebody asks.
pub(super) struct Gauges {
    worker: Weak<Inner>,
    slots: IntGaugeVec,
    cache: IntGaugeVec,
}

impl Gauges {
    /// # Errors
    /// As [`Metrics::register`].
    pub fn register(
        registry: &Registry,
        worker: Weak<Inner>,
        task_queue: &str,
    ) -> Result<(), prometheus::Error> {
        let options =
            |name: &str, help: &str| Opts::new(name, help).const_label("task_queue", task_queue);
        registry.register(Box::new(Self {
            worker,
            slots: IntGaugeVec::new(
                options(
                    "fermata_worker_slots",
                    "Slots for tasks, by whether one is in them.",
                ),
                &["kind", "state"],
            )?,
            cache: IntGaugeVec::new(
                options(
                    "fermata_worker_cache_size",
                    "Runs in memory, and about how many bytes they take.",
                ),
                &["unit"],
            )?,
        }))
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.slots.desc();
        all.extend(self.cache.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(worker) = self.worker.upgrade() else {
            return Vec::new();
        };
        let options = &worker.options;
        let none = AtomicUsize::new(0);
        let waiting = &worker.waiting;
        for (kind, slots, waiting, max) in [
            (
                "workflow",
                &worker.workflow_slots,
                &*waiting.workflow,
                options.workflow_tasks_max,
            ),
            (
                "activity",
                &worker.activity_slots,
                &*waiting.activity,
                options.activities_max,
            ),
            (
                "local_activity",
                &worker.local_activity_slots,
                &none,
                options.local_activities_max,
            ),
        ] {
            let used = slots_used(max, slots, waiting);
            set(&self.slots, &[kind, "used"], used);
            set(&self.slots, &[kind, "free"], max.max(1) - used);
        }
        set(&self.cache, &["runs"], worker.cache_size.runs.load(Relaxed));
        set(
            &self.cache,
            &["bytes"],
            worker.cache_size.bytes.load(Relaxed),
        );
        let mut all = self.slots.collect();
        all.extend(self.cache.collect());
        all
    }
}

fn set(gauge: &IntGaugeVec, labels: &[&str], value: usize) {
    gauge
        .with_label_values(labels)
        .set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Opens the address at which [`serve`] answers.
pub(super) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers whatever is asked with the metrics as text, one scraper at a time, until it is dropped.
pub(super) async fn serve(listener: TcpListener, registry: Registry) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of descriptors, say: later there may be some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let registry = registry.clone();
        let answer = async move {
            // A connection that is closed with something unread is reset, and the answer with it.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
                if stream.read_buf(&mut request).await? == 0 {
                    break;
                }
            }
            let mut body = Vec::new();
            let status = match TextEncoder::new().encode(&registry.gather(), &mut body) {
                Ok(()) => "200 OK",
                Err(_) => "500 Internal Server Error",
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.shutdown().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(SCRAPE_MAX, answer).await {
            tracing::debug!(%error, "answer a scraper");
        }
    }
}
