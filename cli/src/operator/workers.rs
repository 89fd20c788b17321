//! `fermata operator workers`: who announces itself in the broker, and who polls a task queue as the api that is asked has seen it.
//!
//! Workers that announce themselves are known deployment-wide; those of Temporal's SDKs and of other NATS clients do not, and
//! show as pollers only.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use fermata_proto::ids::NamespaceId;
use fermata_transport::Transport;
use serde_json::{Value, json};

use super::age;
use crate::workflow::rest::Rest;
use crate::workflow::{Output, table};

#[derive(clap::Args)]
pub struct Args {
    /// Only this task queue, and with it those who poll it
    #[arg(long, short)]
    task_queue: Option<String>,
    /// Of the task queue whose pollers are shown
    #[arg(long, short, env = "FERMATA_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Where Fermata's REST API listens, which knows the pollers
    #[arg(long, env = "FERMATA_ADDRESS", default_value = "http://127.0.0.1:7243")]
    address: String,
}

const KINDS: [(&str, &str); 2] = [
    ("workflow", "TASK_QUEUE_TYPE_WORKFLOW"),
    ("activity", "TASK_QUEUE_TYPE_ACTIVITY"),
];

/// A worker that announces itself.
struct Announced {
    id: String,
    identity: String,
    namespace: String,
    task_queue: String,
    takes_activities: bool,
    silent_for: Duration,
    /// What it holds is given to others after so long without a sign.
    lost_after: Duration,
}

impl Announced {
    fn is_lost(&self) -> bool {
        self.silent_for > self.lost_after
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "identity": self.identity, "namespace": self.namespace,
            "taskQueue": self.task_queue, "takesActivities": self.takes_activities,
            "silentSeconds": self.silent_for.as_secs_f64(),
            "lostAfterSeconds": self.lost_after.as_secs_f64(), "lost": self.is_lost(),
        })
    }

    fn row(&self) -> [String; 6] {
        let seen = format!("{} ago", age(self.silent_for));
        [
            self.identity.clone(),
            self.namespace.clone(),
            self.task_queue.clone(),
            if self.takes_activities { "yes" } else { "no" }.to_owned(),
            match self.is_lost() {
                true => format!("{seen}: lost"),
                false => seen,
            },
            age(self.lost_after),
        ]
    }
}

/// # Errors
/// If the broker does not answer, or for pollers the api.
pub async fn run(transport: &Transport, args: Args, output: Output) -> anyhow::Result<ExitCode> {
    let announced = announced(transport, &args).await?;
    let pollers = match args.task_queue.clone() {
        None => None,
        // The REST client blocks.
        Some(queue) => {
            let asked = tokio::task::spawn_blocking(move || pollers(&args, &queue));
            Some(asked.await??)
        }
    };
    let mut answer =
        json!({ "workers": announced.iter().map(Announced::json).collect::<Vec<_>>() });
    if let Some(pollers) = &pollers {
        answer["pollers"] = pollers.iter().map(Poller::json).collect();
    }
    super::print(output, &answer, || {
        let mut text = workers_table(&announced);
        if let Some(pollers) = &pollers {
            text.push('\n');
            text.push_str(&pollers_table(pollers));
        }
        text
    });
    Ok(ExitCode::SUCCESS)
}

async fn announced(transport: &Transport, args: &Args) -> anyhow::Result<Vec<Announced>> {
    let now = SystemTime::now();
    let mut announced: Vec<Announced> = Vec::new();
    for worker in transport.announced_workers().await? {
        let record = worker.record;
        let is_wanted = args
            .task_queue
            .as_ref()
            .is_none_or(|queue| *queue == record.task_queue);
        if !is_wanted {
            continue;
        }
        let namespace_id = NamespaceId::from(record.namespace_id.as_str());
        let namespace = transport.namespaces().by_id(&namespace_id);
        announced.push(Announced {
            lost_after: record.ttl(),
            namespace: namespace.map_or(record.namespace_id, |one| one.name.clone()),
            id: record.id,
            identity: record.identity,
            task_queue: record.task_queue,
            takes_activities: record.takes_activities,
            // A broker whose clock is ahead has heard of it just now.
            silent_for: now.duration_since(worker.last_seen).unwrap_or_default(),
        });
    }
    announced.sort_by(|a, b| {
        (&a.namespace, &a.task_queue, &a.identity, &a.id).cmp(&(
            &b.namespace,
            &b.task_queue,
            &b.identity,
            &b.id,
        ))
    });
    Ok(announced)
}

fn workers_table(announced: &[Announced]) -> String {
    if announced.is_empty() {
        return "no worker announces itself; those of Temporal's SDKs show as pollers, with --task-queue\n"
            .to_owned();
    }
    let head = [
        "WORKER",
        "NAMESPACE",
        "TASK QUEUE",
        "ACTIVITIES",
        "LAST SEEN",
        "LOST AFTER",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(announced.iter().map(Announced::row));
    table::columns(&rows)
}

/// One that has asked an api for tasks.
struct Poller {
    kind: &'static str,
    seen: Value,
}

impl Poller {
    fn json(&self) -> Value {
        let seen = &self.seen;
        json!({"kind": self.kind, "identity": seen["identity"], "lastAccessTime": seen["lastAccessTime"]})
    }
}

fn pollers(args: &Args, task_queue: &str) -> anyhow::Result<Vec<Poller>> {
    let rest = Rest::new(&args.address, &args.namespace);
    let mut pollers = Vec::new();
    for (kind, number) in KINDS {
        let answer = rest.get(
            &["task-queues", task_queue],
            &[("taskQueueType", Some(number))],
        )?;
        let found = answer["pollers"].as_array().cloned().unwrap_or_default();
        pollers.extend(found.into_iter().map(|seen| Poller { kind, seen }));
    }
    Ok(pollers)
}

fn pollers_table(pollers: &[Poller]) -> String {
    if pollers.is_empty() {
        return "no poller of the queue is known to this api; `fermata operator task-queues` counts the polls of all workers\n"
            .to_owned();
    }
    let mut rows = vec![["POLLER", "KIND", "LAST SEEN"].map(str::to_owned)];
    rows.extend(pollers.iter().map(|poller| {
        [
            table::text(&poller.seen["identity"]),
            poller.kind.to_owned(),
            table::moment(&poller.seen["lastAccessTime"]),
        ]
    }));
    table::columns(&rows)
}
