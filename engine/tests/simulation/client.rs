//! Simulated clients: each starts one workflow, does to it what chance says, and waits for its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_proto::enums::{HistoryEventFilterType, WorkflowExecutionStatus};
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes as A};
use fermata_proto::query::WorkflowQuery;
use fermata_proto::rpc::*;
use fermata_proto::service::*;

use crate::model::{self, CLIENT_SIGNAL, End, NEVER_ENDS, Plan, QUEUE, Step};
use crate::worker::signals_in;
use crate::world::{World, execution};

/// A workflow that has not ended by then never will.
const LIFE_MAX: Duration = Duration::from_secs(900);
const LONG_POLL: Duration = Duration::from_secs(5);

/// What one client does to its workflow.
struct Client {
    world: Arc<World>,
    workflow_id: String,
    plan: Plan,
    signals_sent: usize,
    /// What it was shown of each run's history last.
    seen: Vec<HistoryEvent>,
}

/// Plays one client to the end of its workflow.
pub async fn client(world: Arc<World>, number: usize, workflows: usize) {
    world.sleep_up_to(20_000).await;
    let plan = random_plan(&world, number, workflows);
    let workflow_id = workflow_id(number);
    world.book().plans.insert(workflow_id.clone(), plan.clone());
    let mut client = Client {
        world: world.clone(),
        workflow_id,
        plan,
        signals_sent: 0,
        seen: Vec::new(),
    };
    client.start("first").await;
    client.accompany().await;
    client.wait_for_end().await;
    if world.chance(0.15) {
        // The same workflow id once more: signals that the first run took are not counted again.
        client
            .plan
            .steps
            .retain(|step| !matches!(step, Step::Signals { .. }));
        world
            .book()
            .plans
            .insert(client.workflow_id.clone(), client.plan.clone());
        client.start("second").await;
        client.wait_for_end().await;
    }
}

pub fn workflow_id(number: usize) -> String {
    format!("workflow-{number}")
}

fn random_plan(world: &World, number: usize, workflows: usize) -> Plan {
    let mut plan = random_steps(world, 2);
    if world.chance(0.4) {
        // Before anything else, so that no signal goes to a later run of the chain.
        let total = 1 + world.below(4);
        plan.steps.insert(0, Step::Signals { total });
    }
    let other = workflow_id((number + 1 + world.below(workflows)) % workflows);
    if world.chance(0.2) {
        let workflow_id = other.clone();
        plan.steps.push(Step::Signal { workflow_id });
    }
    if world.chance(0.05) {
        let workflow_id = other;
        plan.steps.push(Step::Cancel { workflow_id });
    }
    plan.end = match world.below(12) {
        0 => End::Fail,
        1 => End::Never,
        _ => End::Complete,
    };
    plan
}

fn random_steps(world: &World, depth: usize) -> Plan {
    let steps = (0..1 + world.below(4))
        .map(|_| match world.below(12) {
            0..4 => Step::Activities {
                count: 1 + world.below(3),
                failures: i32::try_from(world.below(6).saturating_sub(3)).unwrap_or(0),
            },
            4..6 => Step::Timer {
                millis: world.number(1..4_000),
            },
            6..8 if depth > 0 => {
                let children = (0..1 + world.below(2)).map(|_| random_steps(world, depth - 1));
                Step::Children(children.collect())
            }
            8 => Step::GiveUp {
                millis: world.number(1..2_000),
            },
            9 => Step::Marker {
                bytes: 1 + world.below(50_000),
            },
            10 => Step::ContinueAsNew,
            _ => Step::Timer { millis: 50 },
        })
        .collect();
    Plan {
        steps,
        ..Plan::default()
    }
}

impl Client {
    async fn start(&mut self, which: &str) {
        let world = self.world.clone();
        let request_id = format!("{}-{which}", self.workflow_id);
        let with_signal = which == "first" && self.plan.signals() > 0 && world.chance(0.3);
        let run_timeout = (self.plan.end == End::Never).then_some(NEVER_ENDS);
        let run_id = if with_signal {
            self.signals_sent += 1;
            let request = SignalWithStartWorkflowExecutionRequest {
                workflow_id: self.workflow_id.clone(),
                workflow_type: model::workflow_type(),
                task_queue: Some(model::queue(QUEUE)),
                input: Some(self.plan.to_payloads()),
                workflow_task_timeout: Some(model::WORKFLOW_TASK_TIMEOUT),
                workflow_run_timeout: run_timeout,
                request_id: request_id.clone(),
                signal_name: CLIENT_SIGNAL.to_owned(),
                ..SignalWithStartWorkflowExecutionRequest::default()
            };
            let request = Request::SignalWithStartWorkflowExecution(Box::new(request));
            match world.call(&self.workflow_id, request).await {
                Ok(Response::SignalWithStartWorkflowExecution(response)) => response.run_id,
                Err(rejection) if self.plan.continues() => first_run(&rejection),
                other => panic!("a signal with start was answered by {other:?}"),
            }
        } else {
            let request = StartWorkflowExecutionRequest {
                workflow_id: self.workflow_id.clone(),
                workflow_type: model::workflow_type(),
                task_queue: Some(model::queue(QUEUE)),
                input: Some(self.plan.to_payloads()),
                workflow_task_timeout: Some(model::WORKFLOW_TASK_TIMEOUT),
                workflow_run_timeout: run_timeout,
                request_id: request_id.clone(),
                ..StartWorkflowExecutionRequest::default()
            };
            let request = Request::StartWorkflowExecution(Box::new(request));
            match world.call(&self.workflow_id, request).await {
                Ok(Response::StartWorkflowExecution(response)) => response.run_id,
                Err(rejection) if self.plan.continues() => first_run(&rejection),
                other => panic!("a start was answered by {other:?}"),
            }
        };
        let key = (self.workflow_id.clone(), request_id.clone());
        world.book().starts.insert(key, run_id);
        if with_signal {
            let key = (self.workflow_id.clone(), request_id);
            world.book().signals.insert(key);
        }
        world.count("starts");
    }

    /// Signals, questions and interference while it runs.
    async fn accompany(&mut self) {
        let world = self.world.clone();
        let (cancels, terminates) = (world.chance(0.12), world.chance(0.06));
        while self.signals_sent < self.plan.signals() {
            world.sleep_up_to(3_000).await;
            if world.chance(0.3) {
                self.ask().await;
            }
            if world.chance(0.3) {
                self.look().await;
            }
            self.signal().await;
        }
        if world.chance(0.4) {
            world.sleep_up_to(3_000).await;
            self.ask().await;
        }
        if cancels {
            world.sleep_up_to(4_000).await;
            self.cancel().await;
        }
        if terminates {
            world.sleep_up_to(4_000).await;
            self.terminate().await;
        }
    }

    async fn signal(&mut self) {
        self.signals_sent += 1;
        let request_id = format!("{}-signal-{}", self.workflow_id, self.signals_sent);
        let bytes = if self.world.chance(0.1) { 30_000 } else { 30 };
        let request = SignalWorkflow {
            request: SignalWorkflowExecutionRequest {
                workflow_execution: execution(&self.workflow_id, ""),
                signal_name: CLIENT_SIGNAL.to_owned(),
                input: Some(model::bytes_payload(bytes)),
                request_id: request_id.clone(),
                ..SignalWorkflowExecutionRequest::default()
            },
            sender: None,
        };
        let request = Request::SignalWorkflowExecution(Box::new(request));
        let answer = self.world.call(&self.workflow_id, request).await;
        let key = (self.workflow_id.clone(), request_id);
        match answer {
            Ok(_) => {
                self.world.count("signals");
                self.world.book().signals.insert(key);
            }
            Err(rejection) if rejection.kind == RejectionKind::NotFound => {
                self.world.book().refused_signals.insert(key);
            }
            Err(rejection) => panic!("a signal was refused: {rejection:?}"),
        }
    }

    /// A query, whose answer must know of all signals that were acknowledged before it was asked.
    async fn ask(&self) {
        let world = &self.world;
        let known = world
            .book()
            .signals
            .iter()
            .filter(|(workflow_id, _)| *workflow_id == self.workflow_id)
            .count();
        let request = QueryWorkflowRequest {
            execution: execution(&self.workflow_id, ""),
            query: Some(WorkflowQuery {
                query_type: "signals".to_owned(),
                ..WorkflowQuery::default()
            }),
            ..QueryWorkflowRequest::default()
        };
        let request = Request::QueryWorkflow(Box::new(request));
        let answer = world
            .try_call(&self.workflow_id, request, Duration::from_secs(5))
            .await;
        if let Some(Ok(Response::QueryWorkflow(response))) = answer {
            world.count("queries answered");
            let shown = signals_in(&response);
            assert!(
                shown >= known || self.plan.continues(),
                "a query of {} shows {shown} signals; {known} were acknowledged before",
                self.workflow_id
            );
        }
    }

    async fn cancel(&self) {
        let request = RequestCancelWorkflow {
            request: RequestCancelWorkflowExecutionRequest {
                workflow_execution: execution(&self.workflow_id, ""),
                request_id: format!("{}-cancel", self.workflow_id),
                ..RequestCancelWorkflowExecutionRequest::default()
            },
            sender: None,
        };
        let request = Request::RequestCancelWorkflowExecution(Box::new(request));
        let answer = self.world.call(&self.workflow_id, request).await;
        assert!(answer.is_ok(), "a cancel request was refused: {answer:?}");
        self.world.count("cancel requests");
        let now = fermata_engine::Clock::now(&self.world.clock);
        let cancels = &mut self.world.book().cancels;
        cancels.insert(self.workflow_id.clone(), now);
    }

    async fn terminate(&self) {
        let request = TerminateWorkflow {
            request: TerminateWorkflowExecutionRequest {
                workflow_execution: execution(&self.workflow_id, ""),
                ..TerminateWorkflowExecutionRequest::default()
            },
            sender: None,
        };
        let request = Request::TerminateWorkflowExecution(Box::new(request));
        self.world
            .book()
            .terminations_asked
            .insert(self.workflow_id.clone());
        match self.world.call(&self.workflow_id, request).await {
            Ok(_) => {
                self.world.count("terminations");
                let terminations = &mut self.world.book().terminations;
                terminations.insert(self.workflow_id.clone());
            }
            // Closed before, or by an earlier try whose answer was lost.
            Err(rejection) => assert_eq!(rejection.kind, RejectionKind::NotFound),
        }
    }

    /// Reads history, which must go on from what was shown before.
    async fn look(&mut self) {
        let request = GetWorkflowExecutionHistoryRequest {
            execution: execution(&self.workflow_id, ""),
            maximum_page_size: 1_000,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let request = Request::GetWorkflowExecutionHistory(Box::new(request));
        let Some(Ok(Response::GetWorkflowExecutionHistory(page))) = self
            .world
            .try_call(&self.workflow_id, request, LONG_POLL)
            .await
        else {
            return;
        };
        let events = page.history.unwrap_or_default().events;
        // The current run may be another one by now.
        let is_same_run = self.seen.first() == events.first();
        let shared = self.seen.len().min(events.len());
        assert!(
            !is_same_run || self.seen[..shared] == events[..shared],
            "history of {} changed after it was shown:\n{:?}\n{events:?}",
            self.workflow_id,
            self.seen
        );
        self.seen = events;
        // An attempt of a workflow task after the first is shown, but not kept if it fails too.
        while self.seen.last().is_some_and(is_of_workflow_task) {
            self.seen.pop();
        }
    }

    /// Until describe tells of an end, woken by a long poll.
    async fn wait_for_end(&self) {
        let world = &self.world;
        let began = tokio::time::Instant::now();
        loop {
            let request = DescribeWorkflowExecutionRequest {
                execution: execution(&self.workflow_id, ""),
                ..DescribeWorkflowExecutionRequest::default()
            };
            let request = Request::DescribeWorkflowExecution(Box::new(request));
            let answer = world.call(&self.workflow_id, request).await;
            let Ok(Response::DescribeWorkflowExecution(description)) = answer else {
                panic!("{} was described by {answer:?}", self.workflow_id);
            };
            let info = description
                .workflow_execution_info
                .clone()
                .unwrap_or_default();
            if !matches!(
                info.status,
                WorkflowExecutionStatus::Running | WorkflowExecutionStatus::ContinuedAsNew
            ) {
                return;
            }
            assert!(
                began.elapsed() < LIFE_MAX,
                "{} does not end: {description:?}",
                self.workflow_id
            );
            let request = GetWorkflowExecutionHistoryRequest {
                execution: execution(&self.workflow_id, ""),
                wait_new_event: true,
                history_event_filter_type: HistoryEventFilterType::CloseEvent,
                ..GetWorkflowExecutionHistoryRequest::default()
            };
            let request = Request::GetWorkflowExecutionHistory(Box::new(request));
            let _ = world.try_call(&self.workflow_id, request, LONG_POLL).await;
            world.sleep_up_to(500).await;
        }
    }
}

/// A repeat of a start that reached the next run of the chain: it names the first.
fn first_run(rejection: &Rejection) -> String {
    match rejection.detail.as_deref() {
        Some(ErrorDetail::WorkflowExecutionAlreadyStarted(detail)) => {
            detail.first_execution_run_id.clone()
        }
        _ => panic!("a start was refused: {rejection:?}"),
    }
}

fn is_of_workflow_task(event: &HistoryEvent) -> bool {
    matches!(
        event.attributes,
        Some(A::WorkflowTaskScheduled(_) | A::WorkflowTaskStarted(_))
    )
}

/// All events of a run as the engine shows them, page by page.
pub async fn read_history(world: &World, workflow_id: &str, run_id: &str) -> Vec<HistoryEvent> {
    let mut events = Vec::new();
    let mut token = Bytes::new();
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            execution: execution(workflow_id, run_id),
            maximum_page_size: 4,
            next_page_token: token,
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let request = Request::GetWorkflowExecutionHistory(Box::new(request));
        let answer = world.call(workflow_id, request).await;
        let Ok(Response::GetWorkflowExecutionHistory(page)) = answer else {
            panic!("history of run {run_id} was answered by {answer:?}");
        };
        events.extend(page.history.unwrap_or_default().events);
        token = page.next_page_token;
        if token.is_empty() {
            return events;
        }
    }
}
