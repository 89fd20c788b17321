//! The workflows: made by a random number, driven by a client, and compared with what their model says.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fermata_proto::common::WorkflowType;
use fermata_proto::enums::{WorkflowExecutionStatus, WorkflowIdReusePolicy};
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes as A};
use fermata_proto::rpc::{
    RejectionKind, Request, RequestCancelWorkflow, Response, SignalWorkflow, TerminateWorkflow,
};
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_worker::{Payloads, from_payloads, to_payloads};
use tokio::time::Instant;

use crate::ClosedRun;
use crate::client::{Client, DEFAULT, execution};
use crate::history;
use crate::work::*;

/// Workflows are started over this long, so that starts meet faults too.
const STARTS_MS: u64 = 10_000;
/// What a workflow waits in all, by timers or for its client; at most half as much again where it is drawn in parts.
const WAITS_MS: u64 = 30_000;
/// A workflow task that died with its worker is repeated after this.
const WORKFLOW_TASK_MAX: Duration = Duration::from_secs(3);
const TERMINATE_REASON: &str = "the test is done with it";

/// One workflow and what its client does.
pub struct Job {
    workflow_id: String,
    workflow_type: String,
    input: Option<Payloads>,
    start_after: Duration,
    acts: Vec<Act>,
    expected: Expected,
}

/// What a client does after a while.
struct Act {
    after: Duration,
    what: What,
}

enum What {
    Signal(u64),
    Cancel,
    Terminate,
}

/// How a workflow must end.
struct Expected {
    ending: Ending,
    /// Runs in its chain.
    runs: usize,
    children: Vec<ExpectedChild>,
}

#[derive(Debug, PartialEq)]
enum Ending {
    Number(u64),
    Numbers(Vec<u64>),
    Canceled,
    Terminated(String),
}

struct ExpectedChild {
    namespace: &'static str,
    workflow_id: String,
    result: u64,
}

/// A job whose workflow has ended.
pub struct Outcome {
    job: Job,
    /// The run that the acknowledged start named.
    first_run_id: String,
    /// The end of the chain, as the long poll told it.
    close_event: HistoryEvent,
}

/// What there is of a job, and what is wrong with it.
#[derive(Default)]
pub struct Seen {
    pub events: usize,
    pub runs: BTreeMap<String, ClosedRun>,
    pub problems: Vec<String>,
}

impl Job {
    /// Ten kinds in turn.
    pub fn random(number: u64, random: &mut fastrand::Rng) -> Self {
        let workflow_id = format!("job-{number}");
        let seed = random.u64(..);
        let steps = |steps: u64, failures: i32| Steps {
            seed,
            steps,
            pause_ms: WAITS_MS / steps,
            failures,
        };
        let start_after = Duration::from_millis(random.u64(..STARTS_MS));
        let ends = |ending: Ending| Expected {
            ending,
            runs: 1,
            children: Vec::new(),
        };
        let (workflow_type, input, acts, expected) = match number % 10 {
            0 | 4 => {
                let failures = if number % 10 == 4 {
                    random.i32(1..3)
                } else {
                    0
                };
                let input = steps(random.u64(7..12), failures);
                let expected = ends(Ending::Number(sequence_result(&input)));
                (
                    SEQUENCE.name().to_owned(),
                    payload(&input),
                    Vec::new(),
                    expected,
                )
            }
            1 => {
                let input = Parallel {
                    rounds: steps(6, 0),
                    width: random.u64(2..5),
                };
                let expected = ends(Ending::Number(parallel_result(&input)));
                (
                    PARALLEL.name().to_owned(),
                    payload(&input),
                    Vec::new(),
                    expected,
                )
            }
            2 => {
                let lengths_ms: Vec<u64> =
                    (0..8).map(|_| random.u64(50..WAITS_MS * 3 / 16)).collect();
                let result = lengths_ms.iter().copied().fold(seed, mix);
                let input = Timers { seed, lengths_ms };
                let expected = ends(Ending::Number(result));
                (
                    TIMERS.name().to_owned(),
                    payload(&input),
                    Vec::new(),
                    expected,
                )
            }
            3 => {
                let count = random.usize(4..10);
                let items: Vec<u64> = (0..count).map(|_| random.u64(..)).collect();
                let acts = items.iter().map(|item| Act {
                    after: millis(random.u64(..WAITS_MS * 3 / (2 * count as u64))),
                    what: What::Signal(*item),
                });
                let acts = acts.collect();
                let input = Collect { count };
                let expected = ends(Ending::Numbers(items));
                (COLLECT.name().to_owned(), payload(&input), acts, expected)
            }
            kind @ (5 | 9) => {
                let (namespace, children) = if kind == 5 {
                    (DEFAULT, 3)
                } else {
                    (ELSEWHERE, 2)
                };
                let input = Parent {
                    children,
                    child: steps(4, 0),
                    namespace: namespace.to_owned(),
                };
                let children: Vec<ExpectedChild> = (0..children)
                    .map(|index| ExpectedChild {
                        namespace,
                        workflow_id: child_id(&workflow_id, index),
                        result: sequence_result(&Steps {
                            seed: mix(seed, index),
                            ..input.child.clone()
                        }),
                    })
                    .collect();
                let result = children.iter().map(|child| child.result).fold(seed, mix);
                let expected = Expected {
                    ending: Ending::Number(result),
                    runs: 1,
                    children,
                };
                (
                    PARENT.name().to_owned(),
                    payload(&input),
                    Vec::new(),
                    expected,
                )
            }
            6 => {
                let runs = random.u64(4..9);
                let input = Chain {
                    seed,
                    runs_left: runs,
                    pause_ms: WAITS_MS / runs,
                };
                let result = (1..=runs).rev().fold(seed, mix);
                let expected = Expected {
                    ending: Ending::Number(result),
                    runs: usize::try_from(runs).expect("runs are few"),
                    children: Vec::new(),
                };
                (
                    CHAIN.name().to_owned(),
                    payload(&input),
                    Vec::new(),
                    expected,
                )
            }
            kind => {
                let (what, ending) = if kind == 7 {
                    (What::Cancel, Ending::Canceled)
                } else {
                    let reason = TERMINATE_REASON.to_owned();
                    (What::Terminate, Ending::Terminated(reason))
                };
                let acts = vec![Act {
                    after: millis(random.u64(..WAITS_MS)),
                    what,
                }];
                let input = steps(10, 0);
                (
                    ENDLESS.name().to_owned(),
                    payload(&input),
                    acts,
                    ends(ending),
                )
            }
        };
        Self {
            workflow_id,
            workflow_type,
            input,
            start_after,
            acts,
            expected,
        }
    }

    fn start_request(&self) -> Request {
        Request::StartWorkflowExecution(Box::new(StartWorkflowExecutionRequest {
            namespace: DEFAULT.to_owned(),
            workflow_id: self.workflow_id.clone(),
            workflow_type: Some(WorkflowType {
                name: self.workflow_type.clone(),
            }),
            task_queue: Some(TaskQueue {
                name: QUEUE.to_owned(),
                ..TaskQueue::default()
            }),
            input: self.input.clone(),
            workflow_task_timeout: Some(WORKFLOW_TASK_MAX),
            // A second start would not be refused: the request id alone must prevent it.
            workflow_id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate,
            request_id: format!("{}-start", self.workflow_id),
            ..StartWorkflowExecutionRequest::default()
        }))
    }

    fn act_request(&self, index: usize, what: &What) -> Request {
        let workflow_execution = Some(execution(&self.workflow_id, ""));
        let namespace = DEFAULT.to_owned();
        let request_id = format!("{}-act-{index}", self.workflow_id);
        match what {
            What::Signal(item) => Request::SignalWorkflowExecution(Box::new(SignalWorkflow {
                request: SignalWorkflowExecutionRequest {
                    namespace,
                    workflow_execution,
                    signal_name: ITEM.to_owned(),
                    input: payload(item),
                    request_id,
                    ..SignalWorkflowExecutionRequest::default()
                },
                sender: None,
            })),
            What::Cancel => {
                Request::RequestCancelWorkflowExecution(Box::new(RequestCancelWorkflow {
                    request: RequestCancelWorkflowExecutionRequest {
                        namespace,
                        workflow_execution,
                        request_id,
                        ..RequestCancelWorkflowExecutionRequest::default()
                    },
                    sender: None,
                }))
            }
            What::Terminate => Request::TerminateWorkflowExecution(Box::new(TerminateWorkflow {
                request: TerminateWorkflowExecutionRequest {
                    namespace,
                    workflow_execution,
                    reason: TERMINATE_REASON.to_owned(),
                    ..TerminateWorkflowExecutionRequest::default()
                },
                sender: None,
            })),
        }
    }
}

fn payload<T: serde::Serialize + 'static>(value: &T) -> Option<Payloads> {
    to_payloads(value).expect("inputs have a JSON form")
}

fn millis(length: u64) -> Duration {
    Duration::from_millis(length)
}

fn sequence_result(input: &Steps) -> u64 {
    (0..input.steps).fold(input.seed, mix)
}

fn parallel_result(input: &Parallel) -> u64 {
    (0..input.rounds.steps).fold(input.rounds.seed, |value, _| {
        (0..input.width)
            .map(|index| mix(value, index))
            .fold(value, mix)
    })
}

/// Plays the client of a job until the workflow has ended.
///
/// # Errors
/// In words: what was refused, or that it does not end.
pub async fn drive(job: Job, client: &Client, began: Instant) -> Result<Outcome, String> {
    tokio::time::sleep_until(began + job.start_after).await;
    let workflow_id = job.workflow_id.as_str();
    let first_run_id = match client.ask(DEFAULT, workflow_id, job.start_request()).await {
        Ok(Response::StartWorkflowExecution(started)) => started.run_id,
        other => return Err(format!("start {workflow_id}: {other:?}")),
    };
    client.in_flight.fetch_add(1, Relaxed);
    for (index, act) in job.acts.iter().enumerate() {
        tokio::time::sleep(act.after).await;
        let request = job.act_request(index, &act.what);
        match client.ask(DEFAULT, workflow_id, request).await {
            Ok(_) => {}
            // An earlier try got through, and the workflow has ended since. If none did, the result will tell.
            Err(rejection) if rejection.kind == RejectionKind::NotFound => {}
            Err(rejection) => return Err(format!("act {index} on {workflow_id}: {rejection:?}")),
        }
    }
    let mut run_id = first_run_id.clone();
    let close_event = loop {
        let event = client.close_event(DEFAULT, workflow_id, &run_id).await?;
        match event.attributes {
            Some(A::WorkflowExecutionContinuedAsNew(a)) => run_id = a.new_execution_run_id.clone(),
            _ => break event,
        }
    };
    client.in_flight.fetch_sub(1, Relaxed);
    Ok(Outcome {
        job,
        first_run_id,
        close_event,
    })
}

/// Reads every history of a job and compares it with the model.
///
/// # Errors
/// In words, if a history cannot be read.
pub async fn verify(outcome: &Outcome, client: &Client) -> Result<Seen, String> {
    let Outcome {
        job,
        first_run_id,
        close_event,
    } = outcome;
    let workflow_id = job.workflow_id.as_str();
    let mut seen = Seen::default();
    let mut run_id = first_run_id.clone();
    let mut runs = 0;
    let mut children = BTreeMap::new();
    let last = loop {
        let events = client.history(DEFAULT, workflow_id, &run_id).await?;
        seen.take(DEFAULT, workflow_id, &run_id, &events);
        runs += 1;
        for event in &events {
            if let Some(A::ChildWorkflowExecutionStarted(a)) = &event.attributes
                && let Some(child) = &a.workflow_execution
            {
                children.insert(child.workflow_id.clone(), child.run_id.clone());
            }
        }
        if let Some(A::WorkflowExecutionStarted(a)) = attributes(events.first())
            && a.first_execution_run_id != *first_run_id
        {
            seen.problem(format!(
                "{workflow_id} {run_id} belongs to the chain of {}, not {first_run_id}",
                a.first_execution_run_id
            ));
        }
        match attributes(events.last()) {
            Some(A::WorkflowExecutionContinuedAsNew(a)) => run_id = a.new_execution_run_id.clone(),
            _ => break events,
        }
    };
    if runs != job.expected.runs {
        let expected = job.expected.runs;
        seen.problem(format!("{workflow_id} has {runs} runs, not {expected}"));
    }
    let ending = ending_of(&last);
    if ending.as_ref() != Some(&job.expected.ending) {
        let expected = &job.expected.ending;
        seen.problem(format!(
            "{workflow_id} ended as {ending:?}, not {expected:?}"
        ));
    }
    if last.last() != Some(close_event) {
        seen.problem(format!(
            "{workflow_id} {run_id} does not end with what was told to be its end: {close_event:?}, but with {:?}",
            last.last()
        ));
    }
    seen.signals(job, &last);
    if job.expected.ending == Ending::Canceled && undone(&last) != 1 {
        let undone = undone(&last);
        seen.problem(format!(
            "{workflow_id} was cancelled and undone {undone} times"
        ));
    }
    // Whatever is current now must be the end of this chain, or there was a second start.
    let current = client.history(DEFAULT, workflow_id, "").await?;
    if current != last {
        seen.problem(format!("the current run of {workflow_id} is not {run_id}"));
    }
    for child in &job.expected.children {
        let Some(run_id) = children.get(&child.workflow_id) else {
            seen.problem(format!("{} was never started", child.workflow_id));
            continue;
        };
        let events = client
            .history(child.namespace, &child.workflow_id, run_id)
            .await?;
        seen.take(child.namespace, &child.workflow_id, run_id, &events);
        let ending = ending_of(&events);
        if ending != Some(Ending::Number(child.result)) {
            seen.problem(format!(
                "{} ended as {ending:?}, not {}",
                child.workflow_id, child.result
            ));
        }
        if signals(&events).len() != 1 {
            seen.problem(format!(
                "{} has the signals {:?}",
                child.workflow_id,
                signals(&events)
            ));
        }
    }
    Ok(seen)
}

impl Seen {
    fn take(
        &mut self,
        namespace: &'static str,
        workflow_id: &str,
        run_id: &str,
        events: &[HistoryEvent],
    ) {
        self.events += events.len();
        for problem in history::problems(events) {
            self.problem(format!("{workflow_id} {run_id}: {problem}"));
        }
        let status = match attributes(events.last()) {
            Some(A::WorkflowExecutionCompleted(_)) => WorkflowExecutionStatus::Completed,
            Some(A::WorkflowExecutionCanceled(_)) => WorkflowExecutionStatus::Canceled,
            Some(A::WorkflowExecutionTerminated(_)) => WorkflowExecutionStatus::Terminated,
            Some(A::WorkflowExecutionContinuedAsNew(_)) => WorkflowExecutionStatus::ContinuedAsNew,
            _ => WorkflowExecutionStatus::Failed,
        };
        let run = ClosedRun {
            namespace,
            workflow_id: workflow_id.to_owned(),
            status,
        };
        self.runs.insert(run_id.to_owned(), run);
    }

    fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Each signal that was acknowledged is in history once, in the order in which they were sent.
    fn signals(&mut self, job: &Job, events: &[HistoryEvent]) {
        let sent: Vec<u64> = job
            .acts
            .iter()
            .filter_map(|act| match act.what {
                What::Signal(item) => Some(item),
                What::Cancel | What::Terminate => None,
            })
            .collect();
        let recorded = signals(events);
        if recorded != sent {
            let workflow_id = &job.workflow_id;
            self.problem(format!(
                "{workflow_id} recorded the signals {recorded:?}, not {sent:?}"
            ));
        }
    }
}

fn attributes(event: Option<&HistoryEvent>) -> Option<&A> {
    event.and_then(|event| event.attributes.as_ref())
}

fn ending_of(events: &[HistoryEvent]) -> Option<Ending> {
    match attributes(events.last())? {
        A::WorkflowExecutionCompleted(a) => from_payloads(a.result.as_ref())
            .map(Ending::Number)
            .or_else(|_| from_payloads(a.result.as_ref()).map(Ending::Numbers))
            .ok(),
        A::WorkflowExecutionCanceled(_) => Some(Ending::Canceled),
        A::WorkflowExecutionTerminated(a) => Some(Ending::Terminated(a.reason.clone())),
        _ => None,
    }
}

/// The numbers that the signals in history carry.
fn signals(events: &[HistoryEvent]) -> Vec<u64> {
    let signals = events
        .iter()
        .filter_map(|event| match attributes(Some(event))? {
            A::WorkflowExecutionSignaled(a) => from_payloads(a.input.as_ref()).ok(),
            _ => None,
        });
    signals.collect()
}

/// Completed activities of the type that undoes.
fn undone(events: &[HistoryEvent]) -> usize {
    let completed = events.iter().filter(|event| {
        let Some(A::ActivityTaskCompleted(completed)) = attributes(Some(event)) else {
            return false;
        };
        let at = usize::try_from(completed.scheduled_event_id - 1).unwrap_or(usize::MAX);
        matches!(
            attributes(events.get(at)),
            Some(A::ActivityTaskScheduled(a))
                if a.activity_type.as_ref().is_some_and(|activity| activity.name == UNDO.name())
        )
    });
    completed.count()
}
