//! What simulated workflows do: a plan in the workflow's input, and the commands that follow from it and from history.
//!
//! A function of history alone, as workflow code is: whichever worker answers, and however often, the same commands come out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fermata_proto::codec;
use fermata_proto::command::*;
use fermata_proto::common::*;
use fermata_proto::enums::WorkflowExecutionStatus;
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes as A};
use fermata_proto::failure::Failure;
use fermata_proto::taskqueue::TaskQueue;
use serde::{Deserialize, Serialize};

/// Where all workers poll.
pub const QUEUE: &str = "work";
/// Where nobody does.
const DESERTED_QUEUE: &str = "deserted";
/// Signals of clients, which plans count.
pub const CLIENT_SIGNAL: &str = "client";
/// Signals of other workflows, which they do not.
pub const WORKFLOW_SIGNAL: &str = "workflow";
/// A worker that forgets an activity is noticed after this.
const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(4);

/// Of activities that never fail: whoever waits for this waits in vain, so it is the end of its worker that must be noticed.
pub const HELD_TIMEOUT: Duration = Duration::from_secs(3_600);

/// One run's steps, one after the other, and its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub end: End,
    /// Steps of earlier runs of the chain, so that the ids of this run's steps are new.
    pub done_before: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// So many at once; each fails so often before it succeeds.
    Activities {
        count: usize,
        failures: i32,
    },
    Timer {
        millis: u64,
    },
    /// Goes on once the run has so many of the clients' signals.
    Signals {
        total: usize,
    },
    /// Starts them at once and waits for all.
    Children(Vec<Plan>),
    /// Signals another workflow, which may be closed or not exist.
    Signal {
        workflow_id: String,
    },
    /// Asks another workflow to cancel itself.
    Cancel {
        workflow_id: String,
    },
    /// Schedules an activity that nobody takes, and cancels it when a timer has fired.
    GiveUp {
        millis: u64,
    },
    /// Makes history long.
    Marker {
        bytes: usize,
    },
    /// The rest happens in another run.
    ContinueAsNew,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub enum End {
    #[default]
    Complete,
    Fail,
    /// Waits until its time is over or somebody ends it.
    Never,
}

impl Plan {
    /// The status that its chain of runs ends with, if nobody interferes.
    pub fn status(&self) -> WorkflowExecutionStatus {
        match self.end {
            End::Complete => WorkflowExecutionStatus::Completed,
            End::Fail => WorkflowExecutionStatus::Failed,
            End::Never => WorkflowExecutionStatus::TimedOut,
        }
    }

    pub fn continues(&self) -> bool {
        self.steps.contains(&Step::ContinueAsNew)
    }

    /// Signals of clients that it waits for.
    pub fn signals(&self) -> usize {
        let totals = self.steps.iter().map(|step| match step {
            Step::Signals { total } => *total,
            _ => 0,
        });
        totals.max().unwrap_or(0)
    }

    pub fn to_payloads(&self) -> Payloads {
        let data = codec::encode(self);
        let payload = Payload {
            data,
            ..Payload::default()
        };
        Payloads {
            payloads: vec![payload],
        }
    }

    /// The plan in a run's first event.
    pub fn of(history: &[HistoryEvent]) -> Self {
        let Some(A::WorkflowExecutionStarted(started)) =
            history.first().and_then(|event| event.attributes.as_ref())
        else {
            panic!("history begins with {:?}", history.first());
        };
        let payload = &started
            .input
            .as_ref()
            .expect("a plan is the input")
            .payloads[0];
        codec::decode(&payload.data).expect("the input is a plan")
    }
}

/// How far history says that a run is.
#[derive(Debug, Default)]
struct Progress {
    begun: BTreeSet<String>,
    done: BTreeSet<String>,
    signals: usize,
    cancel_requested: bool,
    /// Activities that the run has asked to cancel.
    given_up: BTreeSet<i64>,
    scheduled: BTreeMap<String, i64>,
}

impl Progress {
    fn of(history: &[HistoryEvent]) -> Self {
        let mut progress = Self::default();
        let mut names: BTreeMap<i64, String> = BTreeMap::new();
        for event in history {
            let id = event.event_id;
            let begins = match event.attributes.as_ref().expect("events have attributes") {
                A::ActivityTaskScheduled(a) => {
                    progress.scheduled.insert(a.activity_id.clone(), id);
                    Some(a.activity_id.clone())
                }
                A::TimerStarted(a) => Some(a.timer_id.clone()),
                A::StartChildWorkflowExecutionInitiated(a) => Some(a.workflow_id.clone()),
                A::SignalExternalWorkflowExecutionInitiated(a) => Some(a.control.clone()),
                A::RequestCancelExternalWorkflowExecutionInitiated(a) => Some(a.control.clone()),
                A::MarkerRecorded(a) => {
                    progress.done.insert(a.marker_name.clone());
                    Some(a.marker_name.clone())
                }
                _ => None,
            };
            if let Some(name) = begins {
                assert!(
                    progress.begun.insert(name.clone()),
                    "{name} begins twice: {history:?}"
                );
                names.insert(id, name);
            }
            let ends = match event.attributes.as_ref().expect("events have attributes") {
                A::ActivityTaskCompleted(a) => a.scheduled_event_id,
                A::ActivityTaskCanceled(a) => a.scheduled_event_id,
                A::ActivityTaskFailed(_) | A::ActivityTaskTimedOut(_) => {
                    panic!("an activity that is retried for ever has failed: {event:?}")
                }
                A::TimerFired(a) => a.started_event_id,
                A::ChildWorkflowExecutionCompleted(a) => a.initiated_event_id,
                A::ChildWorkflowExecutionFailed(a) => a.initiated_event_id,
                A::ChildWorkflowExecutionCanceled(a) => a.initiated_event_id,
                A::ChildWorkflowExecutionTerminated(a) => a.initiated_event_id,
                A::ChildWorkflowExecutionTimedOut(a) => a.initiated_event_id,
                A::StartChildWorkflowExecutionFailed(a) => {
                    panic!("a child with a new id was not started: {a:?}")
                }
                A::ExternalWorkflowExecutionSignaled(a) => a.initiated_event_id,
                A::SignalExternalWorkflowExecutionFailed(a) => a.initiated_event_id,
                A::ExternalWorkflowExecutionCancelRequested(a) => a.initiated_event_id,
                A::RequestCancelExternalWorkflowExecutionFailed(a) => a.initiated_event_id,
                A::WorkflowExecutionSignaled(a) if a.signal_name == CLIENT_SIGNAL => {
                    progress.signals += 1;
                    0
                }
                A::WorkflowExecutionCancelRequested(_) => {
                    progress.cancel_requested = true;
                    0
                }
                A::ActivityTaskCancelRequested(a) => {
                    progress.given_up.insert(a.scheduled_event_id);
                    0
                }
                _ => 0,
            };
            if ends > 0 {
                let name = names
                    .get(&ends)
                    .unwrap_or_else(|| panic!("nothing ends with {event:?}"));
                assert!(
                    progress.done.insert(name.clone()),
                    "{name} ends twice: {history:?}"
                );
            }
        }
        progress
    }
}

/// Signals of clients in a history: what a query is answered with.
pub fn signals(history: &[HistoryEvent]) -> usize {
    Progress::of(history).signals
}

/// What workflow code asks for when it has seen `history`.
pub fn commands(workflow_id: &str, history: &[HistoryEvent]) -> Vec<Command> {
    let plan = Plan::of(history);
    let progress = Progress::of(history);
    if progress.cancel_requested {
        return vec![Command::new(
            CancelWorkflowExecutionCommandAttributes::default(),
        )];
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let number = plan.done_before + index;
        let name = |part: usize| format!("{number}.{part}");
        let mut wanted: Vec<(String, Command)> = Vec::new();
        match step {
            Step::Activities { count, failures } => {
                wanted.extend((0..*count).map(|part| {
                    let activity = activity(&name(part), QUEUE, *failures);
                    (name(part), activity)
                }));
            }
            Step::Timer { millis } => wanted.push((name(0), timer(&name(0), *millis))),
            Step::Signals { total } => {
                if progress.signals < *total {
                    return Vec::new();
                }
            }
            Step::Children(plans) => {
                wanted.extend(plans.iter().enumerate().map(|(part, plan)| {
                    let child_id = format!("{workflow_id}/{}", name(part));
                    (child_id.clone(), child(child_id, plan))
                }));
            }
            Step::Signal { workflow_id } => wanted.push((name(0), signal(&name(0), workflow_id))),
            Step::Cancel { workflow_id } => wanted.push((name(0), cancel(&name(0), workflow_id))),
            Step::GiveUp { millis } => {
                wanted.push((name(0), activity(&name(0), DESERTED_QUEUE, 0)));
                wanted.push((name(1), timer(&name(1), *millis)));
                if let Some(scheduled) = progress.scheduled.get(&name(0))
                    && progress.done.contains(&name(1))
                    && !progress.given_up.contains(scheduled)
                {
                    return vec![Command::new(RequestCancelActivityTaskCommandAttributes {
                        scheduled_event_id: *scheduled,
                    })];
                }
            }
            Step::Marker { bytes } => wanted.push((name(0), marker(&name(0), *bytes))),
            Step::ContinueAsNew => {
                let rest = Plan {
                    steps: plan.steps[index + 1..].to_vec(),
                    done_before: number + 1,
                    ..plan
                };
                return vec![Command::new(
                    ContinueAsNewWorkflowExecutionCommandAttributes {
                        input: Some(rest.to_payloads()),
                        ..ContinueAsNewWorkflowExecutionCommandAttributes::default()
                    },
                )];
            }
        }
        if wanted.iter().all(|(name, _)| progress.done.contains(name)) {
            continue;
        }
        let is_over_at_once = matches!(step, Step::Marker { .. });
        let new: Vec<_> = wanted
            .into_iter()
            .filter(|(name, _)| !progress.begun.contains(name))
            .map(|(_, command)| command)
            .collect();
        if is_over_at_once {
            // A marker alone wakes nobody: what follows it goes into the same answer.
            let mut seen = history.to_vec();
            let id = seen.last().map_or(1, |event| event.event_id + 1);
            seen.push(marked(id, &name(0)));
            return new
                .into_iter()
                .chain(commands(workflow_id, &seen))
                .collect();
        }
        return new;
    }
    match plan.end {
        End::Complete => vec![Command::new(
            CompleteWorkflowExecutionCommandAttributes::default(),
        )],
        End::Fail => vec![Command::new(FailWorkflowExecutionCommandAttributes {
            failure: Some(failure()),
        })],
        End::Never => Vec::new(),
    }
}

/// The event that a marker becomes, as far as the model looks at it.
fn marked(event_id: i64, name: &str) -> HistoryEvent {
    let attributes = fermata_proto::event::MarkerRecordedEventAttributes {
        marker_name: name.to_owned(),
        ..Default::default()
    };
    HistoryEvent {
        event_id,
        attributes: Some(attributes.into()),
        ..HistoryEvent::default()
    }
}

pub fn failure() -> Failure {
    Failure {
        message: "as planned".to_owned(),
        ..Failure::default()
    }
}

pub fn queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        ..TaskQueue::default()
    }
}

pub fn bytes_payload(bytes: usize) -> Payloads {
    let payload = Payload {
        data: vec![7; bytes].into(),
        ..Payload::default()
    };
    Payloads {
        payloads: vec![payload],
    }
}

pub fn workflow_type() -> Option<WorkflowType> {
    Some(WorkflowType {
        name: "Planned".to_owned(),
    })
}

fn activity(id: &str, queue_name: &str, failures: i32) -> Command {
    Command::new(ScheduleActivityTaskCommandAttributes {
        activity_id: id.to_owned(),
        activity_type: Some(ActivityType {
            name: "Act".to_owned(),
        }),
        task_queue: Some(queue(queue_name)),
        input: Some(count_payload(failures)),
        start_to_close_timeout: Some(match failures {
            0 => HELD_TIMEOUT,
            _ => ACTIVITY_TIMEOUT,
        }),
        heartbeat_timeout: (failures > 0).then_some(ACTIVITY_TIMEOUT / 2),
        retry_policy: Some(RetryPolicy {
            initial_interval: Some(Duration::from_millis(200)),
            backoff_coefficient: 1.5,
            maximum_interval: Some(Duration::from_secs(2)),
            ..RetryPolicy::default()
        }),
        ..ScheduleActivityTaskCommandAttributes::default()
    })
}

fn count_payload(count: i32) -> Payloads {
    let payload = Payload {
        data: codec::encode(&count),
        ..Payload::default()
    };
    Payloads {
        payloads: vec![payload],
    }
}

/// How often an activity with this input fails.
pub fn failures(input: Option<&Payloads>) -> i32 {
    let payload = &input.expect("a count is the input").payloads[0];
    codec::decode(&payload.data).expect("the input is a count")
}

fn timer(id: &str, millis: u64) -> Command {
    Command::new(StartTimerCommandAttributes {
        timer_id: id.to_owned(),
        start_to_fire_timeout: Some(Duration::from_millis(millis)),
    })
}

fn child(workflow_id: String, plan: &Plan) -> Command {
    Command::new(StartChildWorkflowExecutionCommandAttributes {
        workflow_id,
        workflow_type: workflow_type(),
        input: Some(plan.to_payloads()),
        workflow_task_timeout: Some(WORKFLOW_TASK_TIMEOUT),
        workflow_run_timeout: (plan.end == End::Never).then_some(NEVER_ENDS),
        ..StartChildWorkflowExecutionCommandAttributes::default()
    })
}

/// A worker that forgets a workflow task is noticed after this.
pub const WORKFLOW_TASK_TIMEOUT: Duration = Duration::from_secs(3);
/// What [`End::Never`] has for a run time-out.
pub const NEVER_ENDS: Duration = Duration::from_secs(25);

fn signal(control: &str, workflow_id: &str) -> Command {
    Command::new(SignalExternalWorkflowExecutionCommandAttributes {
        execution: Some(WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            run_id: String::new(),
        }),
        signal_name: WORKFLOW_SIGNAL.to_owned(),
        control: control.to_owned(),
        ..SignalExternalWorkflowExecutionCommandAttributes::default()
    })
}

fn cancel(control: &str, workflow_id: &str) -> Command {
    Command::new(RequestCancelExternalWorkflowExecutionCommandAttributes {
        workflow_id: workflow_id.to_owned(),
        control: control.to_owned(),
        ..RequestCancelExternalWorkflowExecutionCommandAttributes::default()
    })
}

fn marker(name: &str, bytes: usize) -> Command {
    Command::new(RecordMarkerCommandAttributes {
        marker_name: name.to_owned(),
        details: [("filling".to_owned(), bytes_payload(bytes))].into(),
        ..RecordMarkerCommandAttributes::default()
    })
}
