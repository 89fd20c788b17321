//! `fermata operator partitions`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use fermata_engine::owner_of;
use fermata_engine::record::{self, Checkpoint};
use fermata_proto::common::WorkflowExecution;
use fermata_proto::ids::{Partition, WorkflowId};
use fermata_proto::rpc::{RejectionKind, Request};
use fermata_proto::service::DescribeWorkflowExecutionRequest;
use fermata_proto::subjects;
use fermata_transport::Transport;
use serde_json::{Value, json};

use super::cluster::members;
use super::{Stored, bytes, print, streams};
use crate::workflow::{Output, table};

/// A partition that says nothing for so long is not served, or is just moving.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const NAMESPACE: &str = "default";

/// What is known of one.
struct Seen {
    partition: Partition,
    owner: Option<String>,
    /// How long its owner took to answer, or why it did not.
    answer: Result<Duration, String>,
    checkpoint: Option<Checkpoint>,
    log: Option<Stored>,
    state: Option<Stored>,
}

/// Exit code 1 if a partition does not answer.
pub async fn run(transport: &Transport, output: Output) -> anyhow::Result<ExitCode> {
    let members = members(transport).await?;
    let mut streams = streams(transport).await?;
    let mut take = |name: String| {
        let at = streams.iter().position(|stream| stream.name == name)?;
        Some(streams.swap_remove(at))
    };
    let mut seen = Vec::new();
    for partition in (0..transport.partitions()).map(Partition) {
        let staying = members.iter().filter(|member| !member.leaving);
        let owner = owner_of(partition, staying.map(|member| member.id.as_str()));
        seen.push(Seen {
            partition,
            owner: owner.map(str::to_owned),
            answer: Ok(Duration::ZERO),
            checkpoint: checkpoint(transport, partition).await?,
            log: take(subjects::log_stream(partition)),
            state: take(subjects::state_stream(partition)),
        });
    }
    // All at once: those that do not answer take their time.
    let asked = seen.iter().map(|one| ask(transport, one.partition));
    let answers = futures::future::join_all(asked).await;
    for (one, answer) in seen.iter_mut().zip(answers) {
        one.answer = answer;
    }
    let answer: Vec<Value> = seen.iter().map(json_of).collect();
    print(output, &json!({ "partitions": answer }), || table_of(&seen));
    Ok(if seen.iter().all(|one| one.answer.is_ok()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn checkpoint(
    transport: &Transport,
    partition: Partition,
) -> anyhow::Result<Option<Checkpoint>> {
    let Ok(stream) = transport
        .jetstream()
        .get_stream(subjects::state_stream(partition))
        .await
    else {
        return Ok(None);
    };
    let subject = subjects::checkpoint(partition);
    let Ok(message) = stream.get_last_raw_message_by_subject(&subject).await else {
        return Ok(None);
    };
    record::unseal(&message.payload)
        .map(Some)
        .with_context(|| format!("read {subject}: run `fermata operator verify`"))
}

/// Asks for a workflow that there is not: only an owner that serves can say so.
async fn ask(transport: &Transport, partition: Partition) -> Result<Duration, String> {
    let namespace = transport
        .namespaces()
        .by_name(NAMESPACE)
        .ok_or("there is no namespace to ask in")?;
    let count = transport.partitions();
    let workflow_id = (0_u64..)
        .map(|number| WorkflowId::from(format!("fermata-operator-{number}").as_str()))
        .find(|id| Partition::of(&namespace.id, id, count) == partition)
        .ok_or("no workflow id belongs to it")?;
    let request = DescribeWorkflowExecutionRequest {
        execution: Some(WorkflowExecution {
            workflow_id: workflow_id.0.clone(),
            ..WorkflowExecution::default()
        }),
        ..DescribeWorkflowExecutionRequest::default()
    };
    let request = Request::DescribeWorkflowExecution(Box::new(request));
    let began = Instant::now();
    let answer = transport
        .call(&namespace.id, &workflow_id, ANSWER_MAX, request)
        .await;
    match answer {
        Err(rejection) if rejection.kind == RejectionKind::Unavailable => Err(rejection.message),
        _ => Ok(began.elapsed()),
    }
}

fn json_of(seen: &Seen) -> Value {
    json!({
        "partition": seen.partition.0,
        "owner": seen.owner,
        "answers": seen.answer.is_ok(),
        "answerMs": seen.answer.as_ref().ok().map(|took| took.as_secs_f64() * 1_000.0),
        "reason": seen.answer.as_ref().err(),
        "epoch": seen.checkpoint.as_ref().map(|checkpoint| checkpoint.epoch),
        "applied": seen.checkpoint.as_ref().map(|checkpoint| checkpoint.applied.0),
        "logFirst": seen.log.as_ref().map(|log| log.first_sequence),
        "logLast": seen.log.as_ref().map(|log| log.last_sequence),
        "logBytes": seen.log.as_ref().map(|log| log.bytes),
        "stateRecords": seen.state.as_ref().map(|state| state.messages),
        "stateBytes": seen.state.as_ref().map(|state| state.bytes),
    })
}

fn table_of(seen: &[Seen]) -> String {
    let mut rows = vec![
        [
            "PARTITION",
            "OWNER",
            "ANSWERS",
            "EPOCH",
            "BEHIND",
            "LOG",
            "STATE",
        ]
        .map(str::to_owned),
    ];
    for one in seen {
        let checkpoint = one.checkpoint.clone().unwrap_or_default();
        let answer = match &one.answer {
            Ok(took) => format!("{:.1} ms", took.as_secs_f64() * 1_000.0),
            Err(reason) => format!("no: {reason}"),
        };
        // What a new owner would have to read of the log.
        let behind = one.log.as_ref().map_or(0, |log| {
            log.last_sequence.saturating_sub(checkpoint.applied.0)
        });
        let state = one.state.as_ref().map_or_else(String::new, |state| {
            format!("{} records, {}", state.messages, bytes(state.bytes))
        });
        rows.push([
            one.partition.to_string(),
            one.owner.clone().unwrap_or_else(|| "none".to_owned()),
            answer,
            checkpoint.epoch.to_string(),
            behind.to_string(),
            one.log
                .as_ref()
                .map_or_else(String::new, |log| bytes(log.bytes)),
            state,
        ]);
    }
    table::columns(&rows)
}
