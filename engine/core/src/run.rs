//! Mutable state: what an owner knows of one run besides its history.
//!
//! Built by [`Run::apply`] over transitions and nothing else; live decisions and replay share it, so that both give the
//! same state byte for byte. An applied event has no way to fail on valid history; what it cannot make sense of is a
//! broken invariant and panics with both values, which stops that workflow.
//!
//! Persisted in checkpoints: field names never change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::codec;
use fermata_proto::common::{Payload, Payloads, SearchAttributes, WorkerVersionStamp};
use fermata_proto::enums::WorkflowExecutionStatus;
use fermata_proto::event::*;
use fermata_proto::failure::Failure;
use fermata_proto::ids::{NamespaceId, WorkflowId};
use fermata_proto::rpc::Request;
use fermata_proto::schedule::Watcher;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;
use fermata_proto::wire::is_default;
use fermata_proto::workflow::{PendingActivityInfoPauseInfo, ResetPointInfo};
use serde::{Deserialize, Serialize};

use crate::change::{Change, Fact, Transition};
use crate::update::{self, Update};

/// The mutable state of one run, open or closed. A closed one keeps what describe and later starts ask for.
///
/// Cloned by every decision: what may be large is shared until a decision changes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    #[serde(skip_serializing_if = "is_default")]
    pub namespace_id: NamespaceId,
    #[serde(skip_serializing_if = "is_default")]
    pub workflow_id: WorkflowId,
    #[serde(skip_serializing_if = "is_default")]
    pub run_id: String,

    /// The first event's attributes: input, time-outs, policies, parent, chain.
    #[serde(skip_serializing_if = "is_default")]
    pub started: Arc<WorkflowExecutionStartedEventAttributes>,
    #[serde(skip_serializing_if = "is_default")]
    pub start_time: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub status: WorkflowExecutionStatus,
    #[serde(skip_serializing_if = "is_default")]
    pub close_time: Option<Timestamp>,
    /// The closing event, kept for callers that wait for the result and for the parent.
    #[serde(skip_serializing_if = "is_default")]
    pub close_event: Option<Arc<HistoryEvent>>,

    /// The id that the next event takes; history holds 1 to this minus 1.
    #[serde(skip_serializing_if = "is_default")]
    pub next_event_id: i64,
    /// Bytes of all events in MessagePack.
    #[serde(skip_serializing_if = "is_default")]
    pub history_bytes: i64,
    /// Transitions so far; describe shows it.
    #[serde(skip_serializing_if = "is_default")]
    pub transitions: i64,

    #[serde(skip_serializing_if = "is_default")]
    pub workflow_task: Option<Box<WorkflowTask>>,
    /// Started event of the last completed workflow task; 0 before the first.
    #[serde(skip_serializing_if = "is_default")]
    pub last_completed_task_started_event_id: i64,
    /// WorkflowTaskCompleted event of the last completed workflow task; 0 before the first.
    #[serde(skip_serializing_if = "is_default")]
    pub last_task_completed_event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub sticky: Option<Sticky>,

    #[serde(skip_serializing_if = "is_default")]
    pub activities: Arc<BTreeMap<i64, Activity>>,
    /// Scheduled event by activity id.
    #[serde(skip_serializing_if = "is_default")]
    pub activity_ids: Arc<BTreeMap<String, i64>>,
    #[serde(skip_serializing_if = "is_default")]
    pub timers: Arc<BTreeMap<String, Timer>>,
    /// By initiated event.
    #[serde(skip_serializing_if = "is_default")]
    pub children: Arc<BTreeMap<i64, Child>>,
    /// Signals to other workflows that are not yet answered, by initiated event.
    #[serde(skip_serializing_if = "is_default")]
    pub external_signals: BTreeMap<i64, ExternalRequest>,
    #[serde(skip_serializing_if = "is_default")]
    pub external_cancels: BTreeMap<i64, ExternalRequest>,

    /// Events that wait for the started workflow task to end, in order of arrival, without ids.
    #[serde(skip_serializing_if = "is_default")]
    pub buffered: Vec<BufferedEvent>,
    /// Of all buffered events in MessagePack.
    #[serde(skip_serializing_if = "is_default")]
    pub buffered_bytes: usize,
    #[serde(skip_serializing_if = "is_default")]
    pub request_ids: Arc<BTreeMap<String, RequestIdRecord>>,
    /// By update id; rejected and aborted ones are gone.
    #[serde(skip_serializing_if = "is_default")]
    pub updates: Arc<BTreeMap<String, Update>>,
    #[serde(skip_serializing_if = "is_default")]
    pub signals: u64,
    /// The WorkflowExecutionCancelRequested event exists or is buffered.
    #[serde(skip_serializing_if = "is_default")]
    pub cancel_requested: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub close_refused: bool,
    /// Only the answers to its outbox keep it.
    #[serde(skip_serializing_if = "is_default")]
    pub deleting: bool,
    /// The first workflow task waits until then: a start delay, a retry or a cron schedule.
    #[serde(skip_serializing_if = "is_default")]
    pub first_workflow_task_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub user_metadata: Option<fermata_proto::sdk::UserMetadata>,
    /// Of the worker that completed the last workflow task.
    #[serde(skip_serializing_if = "is_default")]
    pub last_worker_identity: String,
    #[serde(skip_serializing_if = "is_default")]
    pub last_worker_version: Option<WorkerVersionStamp>,

    /// The first workflow task that each build of the worker completed, oldest first.
    #[serde(skip_serializing_if = "is_default")]
    pub reset_points: Arc<Vec<ResetPointInfo>>,
    /// Set if a reset began this run.
    #[serde(skip_serializing_if = "is_default")]
    pub reset_from: Option<Box<ResetFrom>>,
    /// Set if a reset of this run began another.
    #[serde(skip_serializing_if = "is_default")]
    pub reset_to: Option<ResetTo>,

    /// Who hears of the end of this run's chain.
    #[serde(skip_serializing_if = "is_default")]
    pub watcher: Option<Box<Watcher>>,
    /// Set if this is not a workflow's run but a schedule.
    #[serde(skip_serializing_if = "is_default")]
    pub schedule: Option<Box<crate::schedule::state::Kept>>,

    #[serde(skip_serializing_if = "is_default")]
    pub memo: Arc<BTreeMap<String, Payload>>,
    #[serde(skip_serializing_if = "is_default")]
    pub search_attributes: Arc<SearchAttributes>,

    #[serde(skip_serializing_if = "is_default")]
    pub outbox: BTreeMap<u64, OutboxEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub next_outbox_id: u64,
}

/// The one workflow task that is scheduled or started.
///
/// | state | scheduled in history | started in history |
/// |---|---|---|
/// | normal, attempt 1 | yes | when started |
/// | transient, attempt > 1 | no | no; both are written when it completes |
/// | speculative, attempt 1 | no | no; both are written before anything else is, unless it vanishes |
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkflowTask {
    /// Of one that is not written the id that the event would take.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduled_event_id: i64,
    /// 0 until started.
    #[serde(skip_serializing_if = "is_default")]
    pub started_event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub attempt: i32,
    #[serde(skip_serializing_if = "is_default")]
    pub queue: TaskQueue,
    #[serde(skip_serializing_if = "is_default")]
    pub scheduled_time: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub original_scheduled_time: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub started_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub start_to_close_timeout: Duration,
    /// Only on a sticky queue and of a task that was speculative; while waiting for a backoff see [`Run::first_workflow_task_at`].
    #[serde(skip_serializing_if = "is_default")]
    pub schedule_to_start_timeout: Option<Duration>,
    /// The claim that started it.
    #[serde(skip_serializing_if = "is_default")]
    pub request_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub identity: String,
    #[serde(skip_serializing_if = "is_default")]
    pub history_bytes: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub suggest_continue_as_new: bool,
    /// The worker that has it, if that one announces itself.
    #[serde(skip_serializing_if = "is_default")]
    pub worker_id: String,
    /// Made by an update alone.
    #[serde(skip_serializing_if = "is_default")]
    pub speculative: bool,
    /// Tells a task that was made speculative from others which took its id before; 0 for all others.
    #[serde(skip_serializing_if = "is_default")]
    pub stamp: u32,
}

impl WorkflowTask {
    pub fn is_transient(&self) -> bool {
        self.attempt > 1
    }

    /// Whether history does not show it.
    pub fn is_unwritten(&self) -> bool {
        self.speculative || self.is_transient()
    }

    pub fn is_started(&self) -> bool {
        self.started_event_id != 0
    }
}

/// The queue of the worker that holds the run in its cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sticky {
    #[serde(skip_serializing_if = "is_default")]
    pub queue: String,
    #[serde(skip_serializing_if = "is_default")]
    pub schedule_to_start_timeout: Duration,
}

/// A pending activity: what its scheduled event says, and how far it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Activity {
    #[serde(skip_serializing_if = "is_default")]
    pub scheduled_event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub scheduled_time: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub scheduled: Arc<ActivityTaskScheduledEventAttributes>,
    /// What the scheduled event says, if an operator has changed the options.
    #[serde(skip_serializing_if = "is_default")]
    pub original: Option<Arc<ActivityTaskScheduledEventAttributes>>,
    #[serde(skip_serializing_if = "is_default")]
    pub progress: Arc<ActivityProgress>,
}

/// The part of a pending activity that changes without events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityProgress {
    /// From 1.
    #[serde(skip_serializing_if = "is_default")]
    pub attempt: i32,
    /// When this attempt is due; later than now while in backoff.
    #[serde(skip_serializing_if = "is_default")]
    pub attempt_scheduled_time: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub first_attempt_scheduled_time: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub started_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub started_identity: String,
    #[serde(skip_serializing_if = "is_default")]
    pub started_request_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub last_started_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub last_attempt_complete_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub last_heartbeat_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub heartbeat_details: Option<Payloads>,
    #[serde(skip_serializing_if = "is_default")]
    pub last_failure: Option<Box<Failure>>,
    #[serde(skip_serializing_if = "is_default")]
    pub last_worker_identity: String,
    /// The ActivityTaskCancelRequested event, 0 if none.
    #[serde(skip_serializing_if = "is_default")]
    pub cancel_requested_event_id: i64,
    /// The closing event stands in the buffer: the activity answers NOT_FOUND and no time-out counts any more.
    #[serde(skip_serializing_if = "is_default")]
    pub closing: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub paused: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub pause_info: Option<Box<PendingActivityInfoPauseInfo>>,
    /// An operator asked for a reset while it ran: the worker is told by its heartbeat, and attempts count from one again.
    #[serde(skip_serializing_if = "is_default")]
    pub reset_requested: bool,
    /// Attempts count from one again, without a word to the worker.
    #[serde(skip_serializing_if = "is_default")]
    pub attempts_reset: bool,
    /// The next attempt is not told what this one has heartbeaten.
    #[serde(skip_serializing_if = "is_default")]
    pub heartbeat_reset: bool,
    /// Of the request that paused it.
    #[serde(skip_serializing_if = "is_default")]
    pub pause_request_id: String,
    /// Counts how often an operator took the attempt back from its queue.
    #[serde(skip_serializing_if = "is_default")]
    pub stamp: u32,
    /// In backoff: the attempt is not on a queue yet.
    #[serde(skip_serializing_if = "is_default")]
    pub waiting: bool,
    /// The worker that has started it, if that one announces itself.
    #[serde(skip_serializing_if = "is_default")]
    pub worker_id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timer {
    #[serde(skip_serializing_if = "is_default")]
    pub started_event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub fires_at: Timestamp,
    /// The firing stands in the buffer.
    #[serde(skip_serializing_if = "is_default")]
    pub firing: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Child {
    #[serde(skip_serializing_if = "is_default")]
    pub initiated: Arc<StartChildWorkflowExecutionInitiatedEventAttributes>,
    #[serde(skip_serializing_if = "is_default")]
    pub progress: ChildProgress,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildProgress {
    /// Empty until the child has started.
    #[serde(skip_serializing_if = "is_default")]
    pub run_id: String,
    /// 0 until the started event has its id.
    #[serde(skip_serializing_if = "is_default")]
    pub started_event_id: i64,
    /// The closing event stands in the buffer.
    #[serde(skip_serializing_if = "is_default")]
    pub closing: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalRequest {
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    pub namespace_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub workflow_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub run_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub control: String,
}

/// An event without an id yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BufferedEvent {
    pub event: HistoryEvent,
}

/// What a request id was used for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestIdRecord {
    #[serde(skip_serializing_if = "is_default")]
    pub event_type: fermata_proto::enums::EventType,
    /// 0 while the event is buffered.
    #[serde(skip_serializing_if = "is_default")]
    pub event_id: i64,
}

/// Where a run that a reset began comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetFrom {
    /// From the first run on, the last one being the one that was reset.
    pub bases: Vec<ResetBase>,
    pub time: Timestamp,
    /// When the first of them started.
    pub original_start_time: Timestamp,
}

/// A run and the last event that a reset took from it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetBase {
    pub run_id: String,
    pub point: i64,
}

/// The run that a reset began, and the last event that it took along.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetTo {
    pub run_id: String,
    pub point: i64,
}

/// A request to another workflow: sent by RPC until answered; the answer removes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxEntry {
    pub id: u64,
    pub namespace_id: NamespaceId,
    pub workflow_id: WorkflowId,
    pub request: Request,
}

impl Run {
    /// A run before its first event.
    pub fn new(namespace_id: NamespaceId, workflow_id: WorkflowId, run_id: String) -> Self {
        Self {
            namespace_id,
            workflow_id,
            run_id,
            next_event_id: 1,
            ..Self::default()
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(
            self.status,
            WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused
        )
    }

    /// Replays one transition.
    pub fn apply(&mut self, transition: &Transition) {
        for change in &transition.changes {
            self.apply_change(change);
        }
        self.transitions += 1;
    }

    pub(crate) fn apply_change(&mut self, change: &Change) {
        match change {
            Change::Event(event) => self.apply_event(event),
            Change::Fact(fact) => self.apply_fact(fact),
        }
    }

    fn apply_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::WorkflowTask(task) => self.workflow_task = task.clone(),
            Fact::WorkflowTaskWorker(worker_id) => {
                self.workflow_task
                    .as_mut()
                    .expect("a fact tells of a started workflow task")
                    .worker_id
                    .clone_from(worker_id);
            }
            Fact::Sticky(sticky) => self.sticky = sticky.clone(),
            Fact::Activity {
                scheduled_event_id,
                progress,
            } => {
                Arc::make_mut(&mut self.activities)
                    .get_mut(scheduled_event_id)
                    .expect("a fact tells of a pending activity")
                    .progress = Arc::new((**progress).clone());
            }
            Fact::Child {
                initiated_event_id,
                progress,
            } => {
                Arc::make_mut(&mut self.children)
                    .get_mut(initiated_event_id)
                    .expect("a fact tells of a pending child")
                    .progress = progress.clone();
            }
            Fact::Buffered(event) => {
                self.apply_buffered(&event.event);
                self.buffered_bytes += codec::encoded_len(&event.event);
                self.buffered.push((**event).clone());
            }
            Fact::Buffer(events) => {
                self.buffered_bytes = events
                    .iter()
                    .map(|buffered| codec::encoded_len(&buffered.event))
                    .sum();
                self.buffered.clone_from(events);
            }
            Fact::RequestId { request_id, record } => {
                Arc::make_mut(&mut self.request_ids).insert(request_id.clone(), record.clone());
            }
            Fact::Outbox(entry) => {
                self.next_outbox_id = entry.id + 1;
                self.outbox.insert(entry.id, (**entry).clone());
            }
            Fact::OutboxDone { outbox_id } => {
                self.outbox.remove(outbox_id);
            }
            Fact::Deleting => self.deleting = true,
            Fact::CloseRefused(refused) => self.close_refused = *refused,
            Fact::UpdateAdmitted { update_id, request } => {
                update::state::apply_admitted(self, update_id, Some(request.clone()));
            }
            Fact::UpdatesSent => update::state::apply_sent(self),
            Fact::UpdateGone { update_id } => update::state::apply_gone(self, update_id),
            Fact::BatchEnds => {}
            Fact::ResetFrom(from) => crate::reset::apply_reset_from(self, from),
            Fact::ActivityOptions {
                scheduled_event_id,
                scheduled,
            } => crate::activity::apply_options(self, *scheduled_event_id, scheduled),
            Fact::Watcher(watcher) => self.watcher = Some(watcher.clone()),
            Fact::ScheduleDefined(_)
            | Fact::ScheduleProgress(_)
            | Fact::ScheduleLast(_)
            | Fact::ScheduleDeleted { .. } => self.apply_schedule(fact),
            Fact::ResetTo(to) => self.reset_to = Some(to.clone()),
        }
    }
}
