//! How many activity steps an engine does per second on a real nats-server, without workers and queues: each step is
//! four requests to the owner (claim and completion of a workflow task, claim and completion of an activity).
//!
//! `cargo run --release -p fermata-engine --example steps -- <workflows at a time> <seconds> [partitions]`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fermata_engine::broker::{Broker, Watched};
use fermata_engine::jetstream::{JetStream, NatsOptions};
use fermata_engine::{Engine, EngineOptions, SystemClock};
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::CommandType;
use fermata_proto::ids::{NamespaceId, Partition, WorkflowId};
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_test_support::NatsServer;
use futures::StreamExt;

const STEPS_IN_A_WORKFLOW: u64 = 20;

struct Client {
    broker: Arc<JetStream>,
    namespace: NamespaceId,
    partitions: u16,
    steps: AtomicU64,
    requests: AtomicU64,
}

impl Client {
    async fn ask(&self, workflow_id: &WorkflowId, request: Request) -> Response {
        let partition = Partition::of(&self.namespace, workflow_id, self.partitions);
        let call = Call {
            namespace_id: self.namespace.clone(),
            workflow_id: workflow_id.clone(),
            wait_ms: 10_000,
            request,
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.broker
            .request(partition, &call, Duration::from_secs(10))
            .await
            .unwrap_or_else(|error| panic!("{error}"))
            .unwrap_or_else(|rejection| panic!("{rejection}: {:?}", call.request))
    }

    fn claim(
        &self,
        workflow_id: &WorkflowId,
        run_id: &str,
        scheduled_event_id: i64,
        sticky: bool,
    ) -> Box<ClaimTask> {
        Box::new(ClaimTask {
            task: TaskReference {
                namespace_id: self.namespace.clone(),
                workflow_id: workflow_id.clone(),
                run_id: run_id.to_owned(),
                scheduled_event_id,
                attempt: 1,
                stamp: 0,
                query_id: None,
            },
            task_queue: queue(if sticky { "sticky" } else { "steps" }),
            identity: "bench".to_owned(),
            claim_id: format!("{run_id}-{scheduled_event_id}"),
            ..ClaimTask::default()
        })
    }

    async fn workflow(&self, workflow_id: WorkflowId) {
        let start = StartWorkflowExecutionRequest {
            workflow_id: workflow_id.0.clone(),
            workflow_type: Some(WorkflowType {
                name: "Steps".to_owned(),
            }),
            task_queue: Some(queue("steps")),
            request_id: workflow_id.0.clone(),
            ..StartWorkflowExecutionRequest::default()
        };
        let request = Request::StartWorkflowExecution(Box::new(start));
        let Response::StartWorkflowExecution(started) = self.ask(&workflow_id, request).await
        else {
            return;
        };
        let run_id = started.run_id;
        let mut scheduled = 2;
        for step in 0..=STEPS_IN_A_WORKFLOW {
            let claim = self.claim(&workflow_id, &run_id, scheduled, step > 0);
            let Response::WorkflowTask(task) = self
                .ask(&workflow_id, Request::ClaimWorkflowTask(claim))
                .await
            else {
                return;
            };
            let is_last = step == STEPS_IN_A_WORKFLOW;
            let completion = RespondWorkflowTaskCompletedRequest {
                task_token: task.task_token,
                commands: vec![if is_last { done() } else { activity(step) }],
                sticky_attributes: Some(fermata_proto::taskqueue::StickyExecutionAttributes {
                    worker_task_queue: Some(queue("sticky")),
                    schedule_to_start_timeout: Some(Duration::from_secs(10)),
                }),
                ..RespondWorkflowTaskCompletedRequest::default()
            };
            let request = Request::RespondWorkflowTaskCompleted(Box::new(completion));
            self.ask(&workflow_id, request).await;
            if is_last {
                return;
            }
            let claim = self.claim(&workflow_id, &run_id, task.started_event_id + 2, false);
            let Response::ActivityTask(task) = self
                .ask(&workflow_id, Request::ClaimActivityTask(claim))
                .await
            else {
                return;
            };
            let completion = CompleteActivity {
                request: RespondActivityTaskCompletedRequest {
                    task_token: task.task_token,
                    ..RespondActivityTaskCompletedRequest::default()
                },
                sticky_queue: None,
            };
            let request = Request::RespondActivityTaskCompleted(Box::new(completion));
            self.ask(&workflow_id, request).await;
            // Completed, then the activity's three events.
            scheduled += 6;
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        ..TaskQueue::default()
    }
}

fn done() -> Command {
    Command {
        command_type: CommandType::CompleteWorkflowExecution,
        attributes: Some(CompleteWorkflowExecutionCommandAttributes::default().into()),
        ..Command::default()
    }
}

fn activity(step: u64) -> Command {
    let payload = Payload {
        data: vec![7; 100].into(),
        ..Payload::default()
    };
    Command {
        command_type: CommandType::ScheduleActivityTask,
        attributes: Some(
            ScheduleActivityTaskCommandAttributes {
                activity_id: step.to_string(),
                activity_type: Some(ActivityType {
                    name: "step".to_owned(),
                }),
                task_queue: Some(queue("steps")),
                input: Some(Payloads {
                    payloads: vec![payload],
                }),
                start_to_close_timeout: Some(Duration::from_secs(60)),
                ..ScheduleActivityTaskCommandAttributes::default()
            }
            .into(),
        ),
        ..Command::default()
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |otherwise: u64| {
        arguments
            .next()
            .map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (at_a_time, seconds, partitions) = (number(400), number(10), number(4));
    let server = NatsServer::start().await;
    let options = NatsOptions {
        servers: server.url(),
        ..NatsOptions::default()
    };
    let connect = || async {
        let connected = JetStream::connect(&options).await;
        Arc::new(connected.unwrap_or_else(|error| panic!("{error}")))
    };
    let (engines, clients) = (connect().await, connect().await);
    let registry = prometheus::Registry::new();
    let engine_options = EngineOptions {
        partitions: u16::try_from(partitions).expect("few partitions"),
        ..EngineOptions::default()
    };
    let engine = Engine::start(engines, engine_options, Arc::new(SystemClock), &registry)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    while !engine.not_ready().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut namespace = NamespaceId::default();
    let mut known = clients
        .watch_namespaces()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    while let Some(Watched::Put(record)) = known.next().await {
        if record.name == "default" {
            namespace = record.id;
        }
    }
    let client = Arc::new(Client {
        broker: clients,
        namespace,
        partitions: engine.partitions(),
        steps: AtomicU64::new(0),
        requests: AtomicU64::new(0),
    });
    for worker in 0..at_a_time {
        let client = client.clone();
        tokio::spawn(async move {
            for number in 0u64.. {
                client.workflow(format!("w-{worker}-{number}").into()).await;
            }
        });
    }
    let mut before = (0, 0);
    for _ in 0..seconds {
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = (
            client.steps.load(Ordering::Relaxed),
            client.requests.load(Ordering::Relaxed),
        );
        let rate = |count: u64| count as f64 / began.elapsed().as_secs_f64();
        println!(
            "{:.0} steps/s, {:.0} requests/s",
            rate(now.0 - before.0),
            rate(now.1 - before.1)
        );
        before = now;
    }
    let text = prometheus::TextEncoder::new();
    for line in text
        .encode_to_string(&registry.gather())
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains("_sum") || line.contains("_count") || line.contains("bytes{"))
    {
        println!("{line}");
    }
}
