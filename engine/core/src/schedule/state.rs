//! What is kept of a schedule. Persisted: field names never change.

use std::collections::VecDeque;
use std::sync::Arc;

use fermata_proto::common::{Memo, Payloads, SearchAttributes, WorkflowExecution};
use fermata_proto::enums::ScheduleOverlapPolicy;
use fermata_proto::failure::Failure;
use fermata_proto::schedule::{
    ScheduleAction, ScheduleActionResult, SchedulePolicies, ScheduleSpec, ScheduleState,
};
use fermata_proto::time::Timestamp;
use fermata_proto::wire::is_default;
use serde::{Deserialize, Serialize};

/// A schedule: the part of a [`crate::Run`] that a workflow does not have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    pub defined: Arc<Defined>,
    pub progress: Arc<Progress>,
    pub last: Arc<LastOutcome>,
}

/// What changes by updates only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defined {
    pub schedule_id: String,
    /// In its canonical form.
    pub spec: ScheduleSpec,
    #[serde(skip_serializing_if = "is_default")]
    pub action: Option<ScheduleAction>,
    /// With all defaults filled in.
    pub policies: SchedulePolicies,
    #[serde(skip_serializing_if = "is_default")]
    pub memo: Option<Memo>,
    #[serde(skip_serializing_if = "is_default")]
    pub search_attributes: Option<SearchAttributes>,
    pub create_time: Timestamp,
    #[serde(skip_serializing_if = "is_default")]
    pub create_request_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub update_time: Option<Timestamp>,
}

/// How far a schedule is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    #[serde(skip_serializing_if = "is_default")]
    pub state: ScheduleState,
    /// Counts the changes that an update may conflict with, from 1.
    pub conflict_token: i64,
    /// All times of the spec up to here have been dealt with.
    pub done_until: Timestamp,
    /// When to look again; none if only a request or an answer can change anything.
    #[serde(skip_serializing_if = "is_default")]
    pub wake_at: Option<Timestamp>,
    /// Actions that wait for their turn, in order.
    #[serde(skip_serializing_if = "is_default")]
    pub buffer: VecDeque<Buffered>,
    #[serde(skip_serializing_if = "is_default")]
    pub backfills: VecDeque<Backfill>,
    /// Actions whose start is not answered yet, by request id.
    #[serde(skip_serializing_if = "is_default")]
    pub starting: Vec<Starting>,
    #[serde(skip_serializing_if = "is_default")]
    pub running: Vec<Running>,
    /// The last ones that began, oldest first.
    #[serde(skip_serializing_if = "is_default")]
    pub recent: VecDeque<ScheduleActionResult>,
    #[serde(skip_serializing_if = "is_default")]
    pub actions: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub missed_catchup_window: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub overlap_skipped: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub buffer_dropped: i64,
    /// Of the last patches and updates.
    #[serde(skip_serializing_if = "is_default")]
    pub request_ids: VecDeque<String>,
}

/// An action that is due.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Buffered {
    pub nominal: Timestamp,
    pub actual: Timestamp,
    pub overlap_policy: ScheduleOverlapPolicy,
    /// By a trigger or a backfill: it is taken although the schedule is paused or out of actions.
    pub manual: bool,
}

/// A backfill as far as it has got.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backfill {
    /// The times after this one are still to come.
    pub after: Timestamp,
    pub end: Timestamp,
    pub overlap_policy: ScheduleOverlapPolicy,
}

/// An action whose workflow was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Starting {
    pub request_id: String,
    pub workflow_id: String,
    pub scheduled: Timestamp,
    /// It overlaps with nothing: others wait for its end.
    pub is_watched: bool,
}

/// An action that others wait for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Running {
    pub request_id: String,
    pub execution: WorkflowExecution,
    /// It has been asked to cancel, or told to terminate.
    pub is_canceled: bool,
    pub is_terminated: bool,
}

/// What the next action is told of those before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastOutcome {
    #[serde(skip_serializing_if = "is_default")]
    pub result: Option<Payloads>,
    #[serde(skip_serializing_if = "is_default")]
    pub failure: Option<Failure>,
}
