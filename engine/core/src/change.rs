//! What a transition holds: history events, and the facts that history does not show.
//!
//! Persisted: variant and field names are the log's format and never change.

use fermata_proto::event::{ActivityTaskScheduledEventAttributes, HistoryEvent};
use fermata_proto::ids::{NamespaceId, WorkflowId};
use fermata_proto::schedule::Watcher;
use fermata_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::run::{
    ActivityProgress, BufferedEvent, ChildProgress, OutboxEntry, RequestIdRecord, ResetFrom,
    ResetTo, Sticky, WorkflowTask,
};
use crate::schedule::state::{Defined, LastOutcome, Progress};

/// One atomic change of one workflow execution. Its events were written together: they are one batch of history, but for a
/// reset, see [`Fact::BatchEnds`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    pub namespace_id: NamespaceId,
    pub workflow_id: WorkflowId,
    pub run_id: String,
    /// The run begins with this transition and is the workflow id's current one from now on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub creates: bool,
    pub changes: Vec<Change>,
}

impl Transition {
    /// The batches of history that this transition adds; none of them is empty.
    pub fn batches(&self) -> Vec<Vec<std::sync::Arc<HistoryEvent>>> {
        let is_end = |change: &Change| matches!(change, Change::Fact(Fact::BatchEnds));
        self.changes
            .split(is_end)
            .map(|changes| {
                let events = changes.iter().filter_map(|change| match change {
                    Change::Event(event) => Some(event.clone()),
                    Change::Fact(_) => None,
                });
                events.collect::<Vec<_>>()
            })
            .filter(|batch| !batch.is_empty())
            .collect()
    }

    /// The events that this transition adds; there may be none.
    pub fn events(&self) -> impl Iterator<Item = &HistoryEvent> {
        self.changes.iter().filter_map(|change| match change {
            Change::Event(event) => Some(&**event),
            Change::Fact(_) => None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change {
    Event(std::sync::Arc<HistoryEvent>),
    Fact(Fact),
}

/// State that no event shows. A fact sets the small mutable part of what an event created; it is never a difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// The open workflow task is now this, or there is none.
    WorkflowTask(Option<Box<WorkflowTask>>),
    /// The open workflow task was started by this worker, whose end is to be noticed.
    WorkflowTaskWorker(String),
    Sticky(Option<Sticky>),
    /// How far a pending activity is.
    Activity {
        scheduled_event_id: i64,
        progress: Box<ActivityProgress>,
    },
    Child {
        initiated_event_id: i64,
        progress: ChildProgress,
    },
    /// An event waits for the started workflow task to end.
    Buffered(Box<BufferedEvent>),
    /// The buffer is now this: emptied by a flush, whose events follow, or one taken out.
    Buffer(Vec<BufferedEvent>),
    /// A client's request id was applied.
    RequestId {
        request_id: String,
        record: RequestIdRecord,
    },
    /// A request to another workflow that is sent until answered.
    Outbox(Box<OutboxEntry>),
    OutboxDone {
        outbox_id: u64,
    },
    /// The run is to be deleted as soon as its outbox is empty; nobody finds it any more.
    Deleting,
    /// Closed by a refused close: signals are refused until the task that follows has ended.
    CloseRefused(bool),
    /// An update waits for a worker to accept it.
    UpdateAdmitted {
        update_id: String,
        request: std::sync::Arc<fermata_proto::update::Request>,
    },
    /// Every admitted update has gone out with the workflow task that started.
    UpdatesSent,
    /// An update was rejected or aborted: its id is free again.
    UpdateGone {
        update_id: String,
    },
    /// The events up to here are a batch of their own: a run that a reset begins keeps the batches of its base run.
    BatchEnds,
    /// The run was begun by a reset.
    ResetFrom(Box<ResetFrom>),
    /// A reset of this run began another one.
    ResetTo(ResetTo),
    /// An operator has changed a pending activity's options.
    ActivityOptions {
        scheduled_event_id: i64,
        scheduled: Box<ActivityTaskScheduledEventAttributes>,
    },
    /// Somebody hears of the end of the run's chain.
    Watcher(Box<Watcher>),
    /// The run is a schedule, and this is what its creation or an update has made of it.
    ScheduleDefined(Box<Defined>),
    ScheduleProgress(Box<Progress>),
    /// What the schedule's next action is told of those before.
    ScheduleLast(Box<LastOutcome>),
    /// The schedule is gone as soon as its outbox is empty.
    ScheduleDeleted {
        time: Timestamp,
    },
}
