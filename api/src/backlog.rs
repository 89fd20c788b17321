//! Tasks that wait on each queue, for Prometheus: what an operator scales workers by.
//!
//! Every api replica looks at the stream of tasks now and then and shows the same numbers. Activity tasks and normal workflow
//! tasks lie there; tasks for sticky queues never do.

use std::time::Duration;

use fermata_proto::ids::NamespaceId;
use fermata_proto::subjects;
use fermata_transport::Transport;
use futures::TryStreamExt;
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(5);

/// Registers the metric.
///
/// # Errors
/// If it exists already.
pub fn gauge(registry: &Registry) -> Result<IntGaugeVec, prometheus::Error> {
    let gauge = IntGaugeVec::new(
        Opts::new(
            "fermata_task_queue_backlog",
            "Tasks that wait on a queue or are being claimed",
        ),
        &["namespace", "task_queue", "kind"],
    )?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Keeps the metric up to date until `stop`.
pub async fn follow(transport: Transport, gauge: IntGaugeVec, stop: CancellationToken) {
    loop {
        match counts(&transport).await {
            // A queue that is empty now has left the stream: it is no longer shown.
            Ok(counts) => {
                gauge.reset();
                for (labels, count) in counts {
                    let [namespace, queue, kind] = &labels;
                    gauge
                        .with_label_values(&[namespace, queue, kind])
                        .set(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            Err(reason) => tracing::debug!(reason, "count waiting tasks"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn counts(transport: &Transport) -> Result<Vec<([String; 3], usize)>, String> {
    let stream = transport
        .jetstream()
        .get_stream_no_info(subjects::TASKS_STREAM)
        .await
        .map_err(|error| error.to_string())?;
    let mut found = stream
        .info_with_subjects(subjects::TASKS_SUBJECTS)
        .await
        .map_err(|error| error.to_string())?;
    let mut counts = Vec::new();
    while let Some((subject, count)) = found.try_next().await.map_err(|error| error.to_string())? {
        if let Some((kind, namespace_id, queue)) = subjects::task_queue_of(&subject) {
            let namespace = transport
                .namespaces()
                .by_id(&NamespaceId::from(namespace_id))
                .map_or_else(|| namespace_id.to_owned(), |record| record.name.clone());
            counts.push(([namespace, queue, kind.to_owned()], count));
        }
    }
    Ok(counts)
}
