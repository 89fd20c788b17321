//! What thousands of open polls through the gRPC door cost while there is nothing to do.

use std::time::Duration;

use anyhow::{Context, ensure};
use temporalio_protos::temporal::api::common::v1::WorkflowType;
use temporalio_protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse, StartWorkflowExecutionRequest, StartWorkflowExecutionResponse,
};
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::deployment::Deployment;
use crate::memory::resident_mb;

const POLLS: usize = 10_000;
/// Connections, as of so many workers; half of each one's polls are for workflow tasks, half for activities.
const WORKERS: usize = 100;
/// As the SDKs have it.
const POLL_MAX: Duration = Duration::from_secs(70);
/// A whole life of a poll and a bit: all of them end and are renewed in it.
const MEASURED: Duration = Duration::from_secs(80);
/// Of processor times in /proc; the same on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;
const SERVICE: &str = "/temporal.api.workflowservice.v1.WorkflowService";

/// What the process of engine and api takes for them.
pub struct Cost {
    /// Resident memory, polls open, in all.
    pub megabytes: f64,
    /// Of one core, in percent.
    pub core_percent: f64,
}

/// Opens [`POLLS`] polls on empty queues and measures over [`MEASURED`]; then every poll must still be open or renewed, and
/// a queue's workflow task must reach one of them.
pub async fn cost(deployment: &Deployment) -> anyhow::Result<Cost> {
    let address = format!("http://{}", deployment.fermata.grpc_address());
    let mut polls = JoinSet::new();
    let endpoint = Endpoint::from_shared(address)?;
    let channels: Vec<Channel> = (0..WORKERS).map(|_| endpoint.connect_lazy()).collect();
    for number in 0..POLLS {
        let channel = channels[number % WORKERS].clone();
        let queue = format!("idle-{}", number % WORKERS);
        polls.spawn(poll_for_ever(
            channel,
            queue,
            number % (2 * WORKERS) < WORKERS,
        ));
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let pid = deployment.fermata.id().context("the engine runs")?;
    let before = processor_seconds(pid)?;
    let mut megabytes = 0.0_f64;
    let looks = 8;
    for _ in 0..looks {
        tokio::time::sleep(MEASURED / looks).await;
        megabytes = megabytes.max(resident_mb(pid)?);
    }
    let used = processor_seconds(pid)? - before;
    let failed = polls.try_join_next();
    ensure!(failed.is_none(), "a poll ended: {failed:?}");
    start(&channels[0]).await?;
    let task = tokio::time::timeout(Duration::from_secs(10), polls.join_next()).await;
    match task {
        Ok(Some(Ok(Ok(())))) => {}
        other => anyhow::bail!("no poll got the task of a workflow: {other:?}"),
    }
    Ok(Cost {
        megabytes,
        core_percent: 100.0 * used / MEASURED.as_secs_f64(),
    })
}

/// Ends when a poll brings a task.
async fn poll_for_ever(channel: Channel, queue: String, workflow: bool) -> anyhow::Result<()> {
    let task_queue = Some(TaskQueue {
        name: queue,
        ..TaskQueue::default()
    });
    loop {
        let token = if workflow {
            let request = PollWorkflowTaskQueueRequest {
                namespace: "default".to_owned(),
                task_queue: task_queue.clone(),
                identity: "idle".to_owned(),
                ..PollWorkflowTaskQueueRequest::default()
            };
            let answer: PollWorkflowTaskQueueResponse =
                call(&channel, "PollWorkflowTaskQueue", request).await?;
            answer.task_token
        } else {
            let request = PollActivityTaskQueueRequest {
                namespace: "default".to_owned(),
                task_queue: task_queue.clone(),
                identity: "idle".to_owned(),
                ..PollActivityTaskQueueRequest::default()
            };
            let answer: PollActivityTaskQueueResponse =
                call(&channel, "PollActivityTaskQueue", request).await?;
            answer.task_token
        };
        if !token.is_empty() {
            return Ok(());
        }
    }
}

async fn start(channel: &Channel) -> anyhow::Result<()> {
    let request = StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_id: "found-by-a-poll".to_owned(),
        workflow_type: Some(WorkflowType {
            name: "any".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "idle-0".to_owned(),
            ..TaskQueue::default()
        }),
        request_id: "found-by-a-poll".to_owned(),
        ..StartWorkflowExecutionRequest::default()
    };
    let _: StartWorkflowExecutionResponse =
        call(channel, "StartWorkflowExecution", request).await?;
    Ok(())
}

async fn call<Q, A>(channel: &Channel, method: &str, message: Q) -> anyhow::Result<A>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let path = PathAndQuery::from_maybe_shared(format!("{SERVICE}/{method}"))?;
    let mut request = tonic::Request::new(message);
    request.set_timeout(POLL_MAX);
    let mut client = Grpc::new(channel.clone());
    client.ready().await?;
    let answer = client.unary(request, path, ProstCodec::<Q, A>::default());
    Ok(answer.await?.into_inner())
}

/// Processor time of a process so far, user and system.
fn processor_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("a stat line has a name")?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    Ok(ticks as f64 / TICKS_PER_SECOND)
}
