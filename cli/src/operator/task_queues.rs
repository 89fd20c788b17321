//! `fermata operator task-queues`: by what lies in the stream of tasks, and who has asked for it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream::Stream;
use fermata_proto::ids::NamespaceId;
use fermata_proto::subjects;
use fermata_transport::Transport;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::{age, print};
use crate::workflow::{Output, table};

/// What is known of one queue and kind.
#[derive(Default)]
struct Seen {
    waiting: usize,
    /// How long the first of them has waited.
    oldest: Option<Duration>,
    /// Handed to a poller that has not claimed or refused it yet.
    handed_out: usize,
    /// Polls that wait for a task now; none if nobody has polled since the broker started.
    polls: Option<usize>,
}

pub async fn run(transport: &Transport, output: Output) -> anyhow::Result<ExitCode> {
    let stream = transport
        .jetstream()
        .get_stream(subjects::TASKS_STREAM)
        .await
        .context("open the stream of tasks")?;
    let queues = queues(&stream).await?;
    let mut rows = Vec::new();
    for (subject, seen) in &queues {
        let Some((kind, namespace_id, queue)) = subjects::task_queue_of(subject) else {
            continue;
        };
        let namespace = transport
            .namespaces()
            .by_id(&NamespaceId::from(namespace_id));
        let namespace = namespace.map_or_else(|| namespace_id.to_owned(), |one| one.name.clone());
        rows.push((namespace, queue, kind.to_owned(), seen));
    }
    rows.sort_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
    let answer: Vec<Value> = rows
        .iter()
        .map(|(namespace, queue, kind, seen)| {
            json!({
                "namespace": namespace, "taskQueue": queue, "kind": kind, "waiting": seen.waiting,
                "oldestSeconds": seen.oldest.map(|oldest| oldest.as_secs_f64()),
                "handedOut": seen.handed_out, "polls": seen.polls,
            })
        })
        .collect();
    print(output, &json!({ "taskQueues": answer }), || {
        let head = [
            "NAMESPACE",
            "TASK QUEUE",
            "KIND",
            "WAITING",
            "OLDEST",
            "POLLS",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(rows.iter().map(|(namespace, queue, kind, seen)| {
            let polls = match (seen.polls, seen.waiting) {
                (Some(polls), _) if polls > 0 => polls.to_string(),
                (_, 0) => "0".to_owned(),
                _ => "0: no worker asks for these".to_owned(),
            };
            [
                namespace.clone(),
                queue.clone(),
                kind.clone(),
                seen.waiting.to_string(),
                seen.oldest.map(age).unwrap_or_default(),
                polls,
            ]
        }));
        table::columns(&lines)
    });
    Ok(ExitCode::SUCCESS)
}

/// By subject: what has waiting tasks, and what has been polled.
async fn queues(stream: &Stream) -> anyhow::Result<BTreeMap<String, Seen>> {
    let mut queues: BTreeMap<String, Seen> = BTreeMap::new();
    let mut subjects = stream
        .info_with_subjects(subjects::TASKS_SUBJECTS)
        .await
        .context("count waiting tasks")?;
    while let Some((subject, count)) = subjects.try_next().await.context("count waiting tasks")? {
        queues.entry(subject).or_default().waiting = count;
    }
    let mut consumers = stream.consumers();
    while let Some(info) = consumers.try_next().await.context("list who polls")? {
        let Info {
            config,
            num_ack_pending,
            num_waiting,
            ..
        } = info;
        let seen = queues.entry(config.filter_subject).or_default();
        seen.polls = Some(num_waiting);
        seen.handed_out = num_ack_pending;
    }
    for (subject, seen) in queues.iter_mut().filter(|(_, seen)| seen.waiting > 0) {
        // Taken meanwhile is no error: then it has no age.
        if let Ok(first) = stream.get_first_raw_message_by_subject(subject, 1).await {
            let sent = SystemTime::from(first.time);
            seen.oldest = SystemTime::now().duration_since(sent).ok();
        }
    }
    Ok(queues)
}
