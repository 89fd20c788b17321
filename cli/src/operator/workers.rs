//! `fermata operator workers`: the pollers of a task queue, as the api that is asked has seen them.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::workflow::Output;
use crate::workflow::rest::Rest;
use crate::workflow::table;

#[derive(clap::Args)]
pub struct Args {
    /// The task queue
    #[arg(long, short)]
    task_queue: String,
    #[arg(long, short, env = "FERMATA_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Where Fermata's REST API listens
    #[arg(long, env = "FERMATA_ADDRESS", default_value = "http://127.0.0.1:7243")]
    address: String,
}

const KINDS: [(&str, &str); 2] = [
    ("workflow", "TASK_QUEUE_TYPE_WORKFLOW"),
    ("activity", "TASK_QUEUE_TYPE_ACTIVITY"),
];

/// # Errors
/// If there is no answer, or a refusal.
pub fn run(args: &Args, output: Output) -> anyhow::Result<ExitCode> {
    let rest = Rest::new(&args.address, &args.namespace);
    let mut pollers: Vec<(&str, Value)> = Vec::new();
    for (kind, number) in KINDS {
        let answer = rest.get(
            &["task-queues", &args.task_queue],
            &[("taskQueueType", Some(number))],
        )?;
        let found = answer["pollers"].as_array().cloned().unwrap_or_default();
        pollers.extend(found.into_iter().map(|poller| (kind, poller)));
    }
    let answer: Vec<Value> = pollers
        .iter()
        .map(|(kind, poller)| {
            json!({"kind": kind, "identity": poller["identity"], "lastAccessTime": poller["lastAccessTime"]})
        })
        .collect();
    super::print(output, &json!({ "workers": answer }), || {
        if pollers.is_empty() {
            return format!(
                "no poller of {} is known here; `fermata operator task-queues` counts the polls of all workers\n",
                args.task_queue
            );
        }
        let mut rows = vec![["IDENTITY", "KIND", "LAST SEEN"].map(str::to_owned)];
        rows.extend(pollers.iter().map(|(kind, poller)| {
            [
                table::text(&poller["identity"]),
                (*kind).to_owned(),
                table::moment(&poller["lastAccessTime"]),
            ]
        }));
        table::columns(&rows)
    });
    Ok(ExitCode::SUCCESS)
}
