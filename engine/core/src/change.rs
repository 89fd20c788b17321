//! What a transition holds: history events, and the facts that history does not show.
//!
//! Persisted: variant and field names are the log's format and never change.

use fermata_proto::event::HistoryEvent;
use fermata_proto::ids::{NamespaceId, WorkflowId};
use serde::{Deserialize, Serialize};

use crate::run::{
    ActivityProgress, BufferedEvent, ChildProgress, OutboxEntry, RequestIdRecord, Sticky,
    WorkflowTask,
};

/// One atomic change of one workflow execution. Its events were written together: they are one batch of history.
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
    /// The batch of history that this transition adds; may be empty.
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
}
