//! Clients without workers: starts, and signals to open workflows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fermata_proto::common::{Payload, Payloads, WorkflowExecution, WorkflowType};
use fermata_proto::ids::WorkflowId;
use fermata_proto::rpc::{Request, SignalWorkflow};
use fermata_proto::service::{SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest};
use fermata_proto::taskqueue::TaskQueue;
use futures::StreamExt;

use crate::deployment::Deployment;

/// Callers at a time.
const CALLERS: usize = 400;
const WAIT: Duration = Duration::from_secs(30);

/// Starts workflows that nobody works on; starts per second.
pub async fn starts(deployment: &Deployment, window: Duration) -> anyhow::Result<f64> {
    measure(window, |number| {
        start(deployment, format!("start-{number}"))
    })
    .await
}

/// Signals 1,000 open workflows in turn; signals per second.
pub async fn signals(deployment: &Deployment, window: Duration) -> anyhow::Result<f64> {
    const OPEN: u64 = 1_000;
    open(deployment, "signalled", OPEN).await?;
    // A run takes 10,000 signals; nobody reads them, so the measured time must stay below that.
    measure(window, |number| {
        signal(deployment, format!("signalled-{}", number % OPEN))
    })
    .await
}

/// Starts `count` workflows that stay open.
pub async fn open(deployment: &Deployment, prefix: &str, count: u64) -> anyhow::Result<()> {
    let mut calls = futures::stream::iter(0..count)
        .map(|number| start(deployment, format!("{prefix}-{number}")))
        .buffer_unordered(CALLERS);
    while let Some(done) = calls.next().await {
        done?;
    }
    Ok(())
}

/// Runs `call` by [`CALLERS`] callers; calls per second within the window, after warming up.
async fn measure<F: Future<Output = anyhow::Result<()>>>(
    window: Duration,
    call: impl Fn(u64) -> F,
) -> anyhow::Result<f64> {
    let numbers = AtomicU64::new(0);
    let done = Arc::new(AtomicU64::new(0));
    let caller = async || {
        loop {
            call(numbers.fetch_add(1, Ordering::Relaxed)).await?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        #[allow(unreachable_code)]
        anyhow::Ok(())
    };
    let clock = async {
        tokio::time::sleep(window / 4).await;
        let (from, began) = (done.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(window).await;
        let calls = done.load(Ordering::Relaxed) - from;
        calls as f64 / began.elapsed().as_secs_f64()
    };
    let callers = futures::future::try_join_all((0..CALLERS).map(|_| caller()));
    tokio::select! {
        failed = callers => failed.map(|_| 0.0),
        rate = clock => Ok(rate),
    }
}

async fn start(deployment: &Deployment, workflow_id: String) -> anyhow::Result<()> {
    let request = start_request(&workflow_id);
    call(deployment, workflow_id, request).await
}

/// A start on a queue that nobody polls.
pub fn start_request(workflow_id: &str) -> Request {
    let request = StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_id: workflow_id.to_owned(),
        workflow_type: Some(WorkflowType {
            name: "Bench".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "nobody".to_owned(),
            ..TaskQueue::default()
        }),
        input: Some(text(
            "an input of about the usual length, a few hundred bytes in JSON",
        )),
        request_id: uuid::Uuid::new_v4().to_string(),
        identity: "bench".to_owned(),
        ..StartWorkflowExecutionRequest::default()
    };
    Request::StartWorkflowExecution(Box::new(request))
}

async fn signal(deployment: &Deployment, workflow_id: String) -> anyhow::Result<()> {
    let request = SignalWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: workflow_id.clone(),
            run_id: String::new(),
        }),
        signal_name: "note".to_owned(),
        input: Some(text("something to note")),
        request_id: uuid::Uuid::new_v4().to_string(),
        identity: "bench".to_owned(),
        ..SignalWorkflowExecutionRequest::default()
    };
    let signal = SignalWorkflow {
        request,
        sender: None,
    };
    call(
        deployment,
        workflow_id,
        Request::SignalWorkflowExecution(Box::new(signal)),
    )
    .await
}

async fn call(
    deployment: &Deployment,
    workflow_id: String,
    request: Request,
) -> anyhow::Result<()> {
    let workflow_id = WorkflowId::from(workflow_id);
    deployment
        .transport
        .call(&deployment.namespace_id, &workflow_id, WAIT, request)
        .await?;
    Ok(())
}

/// One payload as the default data converter of the SDKs writes it.
fn text(value: &str) -> Payloads {
    Payloads {
        payloads: vec![Payload {
            metadata: [("encoding".to_owned(), "json/plain".into())].into(),
            data: serde_json::to_vec(value).unwrap_or_default().into(),
            ..Payload::default()
        }],
    }
}
