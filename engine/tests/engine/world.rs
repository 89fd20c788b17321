//! Engines over a simulated broker, a client and a worker, under a paused clock.

use std::sync::Arc;
use std::time::Duration;

use fermata_engine::broker::{Broker, Watched};
use fermata_engine::simulated::SimulatedBroker;
use fermata_engine::{Clock, Engine, EngineOptions};
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::*;
use fermata_proto::event::HistoryEvent;
use fermata_proto::ids::{NamespaceId, Partition, WorkflowId};
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::subjects::TaskKind;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;
use futures::StreamExt;
use tokio::time::Instant;

pub const PARTITIONS: u16 = 2;
const CALL: Duration = Duration::from_secs(30);
const NOON: i64 = 1_700_000_000_000;

/// Moves with tokio's clock.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOON) + self.0.elapsed()
    }
}

pub struct World {
    pub broker: SimulatedBroker,
    began: Instant,
    pub namespace: NamespaceId,
    claims: std::cell::Cell<u64>,
    pub cache_bytes_max: usize,
}

impl World {
    /// A broker without engines.
    pub fn empty(seed: u64) -> Self {
        Self {
            broker: SimulatedBroker::new(seed),
            began: Instant::now(),
            namespace: "".into(),
            claims: std::cell::Cell::new(0),
            cache_bytes_max: 64 << 20,
        }
    }

    /// A broker and one engine that serves.
    pub async fn with_engine() -> (Self, Engine) {
        let mut world = Self::empty(7);
        let engine = world.start("one").await;
        (world, engine)
    }

    pub async fn start(&mut self, id: &str) -> Engine {
        let replica = Arc::new(self.broker.connect(id));
        let options = EngineOptions {
            id: id.to_owned(),
            partitions: PARTITIONS,
            cache_bytes_max: self.cache_bytes_max,
            seed: Some(1),
            ..EngineOptions::default()
        };
        let clock = Arc::new(TestClock(self.began));
        let registry = prometheus::Registry::new();
        let engine = Engine::start(replica.clone(), options, clock, &registry)
            .await
            .unwrap();
        let mut namespaces = replica.watch_namespaces().await.unwrap();
        while let Some(Watched::Put(record)) = namespaces.next().await {
            if record.name == "default" {
                self.namespace = record.id;
            }
        }
        self.until("the engine serves", || engine.not_ready().is_empty())
            .await;
        engine
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..30_000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: not within five minutes");
    }

    pub fn partition(&self, workflow_id: &str) -> Partition {
        Partition::of(&self.namespace, &WorkflowId::from(workflow_id), PARTITIONS)
    }

    /// Asks until there is an answer, as the edge does.
    pub async fn call(&self, workflow_id: &str, request: Request) -> Answer {
        let call = Call {
            namespace_id: self.namespace.clone(),
            workflow_id: workflow_id.into(),
            wait_ms: u32::try_from(CALL.as_millis()).unwrap(),
            request,
        };
        let partition = self.partition(workflow_id);
        for _ in 0..200 {
            match self.broker.call(partition, &call, CALL).await {
                Ok(Err(rejection))
                    if matches!(
                        rejection.kind,
                        RejectionKind::Unavailable | RejectionKind::NotOwner
                    ) => {}
                Ok(answer) => return answer,
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no answer to {:?}", call.request);
    }

    pub async fn ok(&self, workflow_id: &str, request: Request) -> Response {
        self.call(workflow_id, request).await.unwrap()
    }

    // ---- the client ----

    pub async fn start_workflow(&self, workflow_id: &str) -> String {
        let request = StartWorkflowExecutionRequest {
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: "Flow".to_owned(),
            }),
            task_queue: Some(queue("tq")),
            request_id: format!("start-{workflow_id}"),
            ..StartWorkflowExecutionRequest::default()
        };
        let response = self
            .ok(
                workflow_id,
                Request::StartWorkflowExecution(Box::new(request)),
            )
            .await;
        let Response::StartWorkflowExecution(started) = response else {
            panic!("{response:?}");
        };
        started.run_id
    }

    pub async fn signal(&self, workflow_id: &str, name: &str) -> Answer {
        let request = SignalWorkflow {
            request: SignalWorkflowExecutionRequest {
                workflow_execution: execution(workflow_id, ""),
                signal_name: name.to_owned(),
                request_id: format!("{workflow_id}-{name}"),
                ..SignalWorkflowExecutionRequest::default()
            },
            sender: None,
        };
        self.call(
            workflow_id,
            Request::SignalWorkflowExecution(Box::new(request)),
        )
        .await
    }

    pub async fn terminate(&self, workflow_id: &str) {
        let request = TerminateWorkflow {
            request: TerminateWorkflowExecutionRequest {
                workflow_execution: execution(workflow_id, ""),
                ..TerminateWorkflowExecutionRequest::default()
            },
            sender: None,
        };
        self.ok(
            workflow_id,
            Request::TerminateWorkflowExecution(Box::new(request)),
        )
        .await;
    }

    pub async fn describe(&self, workflow_id: &str) -> DescribeWorkflowExecutionResponse {
        let request = DescribeWorkflowExecutionRequest {
            execution: execution(workflow_id, ""),
            ..DescribeWorkflowExecutionRequest::default()
        };
        let response = self
            .ok(
                workflow_id,
                Request::DescribeWorkflowExecution(Box::new(request)),
            )
            .await;
        let Response::DescribeWorkflowExecution(description) = response else {
            panic!("{response:?}");
        };
        *description
    }

    pub async fn page(
        &self,
        workflow_id: &str,
        request: GetWorkflowExecutionHistoryRequest,
    ) -> Result<(Vec<HistoryEvent>, bytes::Bytes), Rejection> {
        let request = GetWorkflowExecutionHistoryRequest {
            execution: execution(workflow_id, ""),
            ..request
        };
        let response = self
            .call(
                workflow_id,
                Request::GetWorkflowExecutionHistory(Box::new(request)),
            )
            .await?;
        let Response::GetWorkflowExecutionHistory(page) = response else {
            panic!("{response:?}");
        };
        Ok((page.history.unwrap().events, page.next_page_token))
    }

    /// All events, page by page.
    pub async fn history(&self, workflow_id: &str) -> Vec<HistoryEvent> {
        let mut events = Vec::new();
        let mut token = bytes::Bytes::new();
        loop {
            let request = GetWorkflowExecutionHistoryRequest {
                maximum_page_size: 3,
                next_page_token: token,
                ..GetWorkflowExecutionHistoryRequest::default()
            };
            let (page, next) = self.page(workflow_id, request).await.unwrap();
            events.extend(page);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        let ids: Vec<_> = events.iter().map(|event| event.event_id).collect();
        assert!(ids.iter().copied().eq(1..=ids.len() as i64), "{ids:?}");
        events
    }

    // ---- the worker ----

    fn claim(&self, task: TaskReference, queue_name: &str) -> ClaimTask {
        self.claims.set(self.claims.get() + 1);
        ClaimTask {
            task,
            task_queue: queue(queue_name),
            identity: "worker".to_owned(),
            claim_id: format!("claim-{}", self.claims.get()),
            ..ClaimTask::default()
        }
    }

    pub async fn claim_workflow_task(
        &self,
        task: TaskReference,
        queue_name: &str,
    ) -> Result<PollWorkflowTaskQueueResponse, Rejection> {
        let workflow_id = task.workflow_id.0.clone();
        let claim = self.claim(task, queue_name);
        let request = Request::ClaimWorkflowTask(Box::new(claim));
        match self.call(&workflow_id, request).await? {
            Response::WorkflowTask(task) => Ok(*task),
            other => panic!("{other:?}"),
        }
    }

    /// Polls until a claim succeeds: a task may be on the queue twice.
    pub async fn workflow_task(&self) -> PollWorkflowTaskQueueResponse {
        loop {
            let task = self
                .broker
                .poll_task(TaskKind::Workflow, &self.namespace, "tq")
                .await;
            if let Ok(task) = self.claim_workflow_task(task, "tq").await {
                return task;
            }
        }
    }

    pub async fn activity_task(&self) -> PollActivityTaskQueueResponse {
        loop {
            let task = self
                .broker
                .poll_task(TaskKind::Activity, &self.namespace, "tq")
                .await;
            let workflow_id = task.workflow_id.0.clone();
            let request = Request::ClaimActivityTask(Box::new(self.claim(task, "tq")));
            if let Ok(Response::ActivityTask(task)) = self.call(&workflow_id, request).await {
                return *task;
            }
        }
    }

    pub async fn complete(
        &self,
        task: &PollWorkflowTaskQueueResponse,
        commands: Vec<Command>,
    ) -> RespondWorkflowTaskCompletedResponse {
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            commands,
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        self.complete_with(task, request).await
    }

    pub async fn complete_with(
        &self,
        task: &PollWorkflowTaskQueueResponse,
        request: RespondWorkflowTaskCompletedRequest,
    ) -> RespondWorkflowTaskCompletedResponse {
        let workflow_id = task.workflow_execution.clone().unwrap().workflow_id;
        let request = Request::RespondWorkflowTaskCompleted(Box::new(request));
        match self.ok(&workflow_id, request).await {
            Response::RespondWorkflowTaskCompleted(response) => *response,
            other => panic!("{other:?}"),
        }
    }

    pub async fn complete_activity(&self, task: &PollActivityTaskQueueResponse) {
        let workflow_id = task.workflow_execution.clone().unwrap().workflow_id;
        let request = CompleteActivity {
            request: RespondActivityTaskCompletedRequest {
                task_token: task.task_token.clone(),
                ..RespondActivityTaskCompletedRequest::default()
            },
            sticky_queue: None,
        };
        let request = Request::RespondActivityTaskCompleted(Box::new(request));
        self.ok(&workflow_id, request).await;
    }
}

pub fn execution(workflow_id: &str, run_id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
    })
}

pub fn queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        ..TaskQueue::default()
    }
}

/// The events' types, by the names of their attributes.
pub fn kinds(events: &[HistoryEvent]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let words = format!("{:?}", event.attributes.as_ref().unwrap());
            words.split('(').next().unwrap().to_owned()
        })
        .collect()
}

// ---- commands ----

fn command(command_type: CommandType, attributes: CommandAttributes) -> Command {
    Command {
        command_type,
        attributes: Some(attributes),
        ..Command::default()
    }
}

pub fn done() -> Command {
    command(
        CommandType::CompleteWorkflowExecution,
        CommandAttributes::from(CompleteWorkflowExecutionCommandAttributes::default()),
    )
}

pub fn activity(id: &str) -> Command {
    command(
        CommandType::ScheduleActivityTask,
        CommandAttributes::from(ScheduleActivityTaskCommandAttributes {
            activity_id: id.to_owned(),
            activity_type: Some(ActivityType {
                name: "act".to_owned(),
            }),
            task_queue: Some(queue("tq")),
            start_to_close_timeout: Some(Duration::from_secs(600)),
            ..ScheduleActivityTaskCommandAttributes::default()
        }),
    )
}

pub fn timer(id: &str, seconds: u64) -> Command {
    command(
        CommandType::StartTimer,
        CommandAttributes::from(StartTimerCommandAttributes {
            timer_id: id.to_owned(),
            start_to_fire_timeout: Some(Duration::from_secs(seconds)),
        }),
    )
}

/// A marker of so many bytes, to make history long.
pub fn marker(bytes: usize) -> Command {
    let payload = Payload {
        data: vec![7; bytes].into(),
        ..Payload::default()
    };
    let details = Payloads {
        payloads: vec![payload],
    };
    command(
        CommandType::RecordMarker,
        CommandAttributes::from(RecordMarkerCommandAttributes {
            marker_name: "m".to_owned(),
            details: [("d".to_owned(), details)].into(),
            ..RecordMarkerCommandAttributes::default()
        }),
    )
}

pub fn child(workflow_id: &str) -> Command {
    command(
        CommandType::StartChildWorkflowExecution,
        CommandAttributes::from(StartChildWorkflowExecutionCommandAttributes {
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: "Child".to_owned(),
            }),
            ..StartChildWorkflowExecutionCommandAttributes::default()
        }),
    )
}
