//! Activities of a run: scheduled by a command, ended by one of four events.
//!
//! | state | cancel (try) | cancel (wait) | abandon |
//! |---|---|---|---|
//! | asked for, not sent | the command is taken back; cancelled | same | same |
//! | scheduled | a cancel command; cancelled at once | a cancel command; ends as its events say | cancelled at once, without a command |
//! | ended | nothing | nothing | nothing |

use std::collections::BTreeMap;

use fermata_proto::command::{
    RequestCancelActivityTaskCommandAttributes, ScheduleActivityTaskCommandAttributes,
};
use fermata_proto::enums::RetryState;
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};
use fermata_proto::failure::{ActivityFailureInfo, Failure, FailureFailureInfo};

use super::scope::ScopeId;
use super::slot::{Outcome, Sequence};
use super::state::State;
use crate::error::{SOURCE, cancelled};

/// What happens to an activity that its workflow cancels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ActivityCancellation {
    /// It is asked to stop; the workflow goes on at once.
    #[default]
    TryCancel,
    /// It is asked to stop, and the workflow waits until it has. Needs a heartbeating activity.
    WaitCompleted,
    /// It goes on and nobody waits for it.
    Abandon,
}

/// An activity that has not ended.
struct OpenActivity {
    activity_type: String,
    cancellation: ActivityCancellation,
    scope: ScopeId,
    /// 0 until its event was met.
    scheduled_event_id: i64,
    cancel_requested: bool,
}

#[derive(Default)]
pub(crate) struct Activities {
    open: BTreeMap<Sequence, OpenActivity>,
    by_event: BTreeMap<i64, Sequence>,
}

impl Activities {
    /// What goes down with `scopes`.
    pub fn within(&self, scopes: &[ScopeId]) -> Vec<Sequence> {
        let open = self.open.iter();
        let within = open.filter(|(_, activity)| scopes.contains(&activity.scope));
        within.map(|(sequence, _)| *sequence).collect()
    }
}

impl State {
    /// Asks for an activity; `attributes` are complete but for the activity id, which may be given.
    pub fn schedule_activity(
        &mut self,
        mut attributes: ScheduleActivityTaskCommandAttributes,
        cancellation: ActivityCancellation,
        scope: ScopeId,
    ) -> Sequence {
        let sequence = self.next_sequence();
        if attributes.activity_id.is_empty() {
            attributes.activity_id = sequence.to_string();
        }
        let activity_type = attributes
            .activity_type
            .as_ref()
            .map(|activity_type| activity_type.name.clone())
            .unwrap_or_default();
        self.slots.open(sequence);
        self.commands.push(sequence, attributes);
        self.activities.open.insert(
            sequence,
            OpenActivity {
                activity_type,
                cancellation,
                scope,
                scheduled_event_id: 0,
                cancel_requested: false,
            },
        );
        sequence
    }

    pub fn cancel_activity(&mut self, sequence: Sequence) {
        let Some(activity) = self.activities.open.get_mut(&sequence) else {
            return;
        };
        if activity.cancel_requested {
            return;
        }
        activity.cancel_requested = true;
        let outcome = Outcome::Cancelled(Box::new(activity_failure(
            activity,
            sequence,
            RetryState::CancelRequested,
            cancelled("the workflow cancelled the activity".to_owned(), None),
        )));
        let scheduled_event_id = activity.scheduled_event_id;
        if scheduled_event_id == 0 {
            if self.commands.retract(sequence) {
                self.activities.open.remove(&sequence);
            }
            self.slots.resolve(sequence, outcome);
            return;
        }
        if activity.cancellation != ActivityCancellation::WaitCompleted {
            self.slots.resolve(sequence, outcome);
        }
        if let Some(activity) = self.activities.open.get(&sequence)
            && activity.cancellation != ActivityCancellation::Abandon
        {
            let cancel = RequestCancelActivityTaskCommandAttributes { scheduled_event_id };
            self.commands.push(sequence, cancel);
        }
    }

    pub(super) fn met_activity(&mut self, sequence: Sequence, event: &HistoryEvent) {
        if let Some(activity) = self.activities.open.get_mut(&sequence) {
            activity.scheduled_event_id = event.event_id;
            self.activities.by_event.insert(event.event_id, sequence);
        }
    }

    /// Takes the four events that end an activity. False if none was open.
    pub(super) fn end_activity(&mut self, attributes: &HistoryEventAttributes) -> bool {
        use HistoryEventAttributes as A;
        let scheduled_event_id = match attributes {
            A::ActivityTaskCompleted(a) => a.scheduled_event_id,
            A::ActivityTaskFailed(a) => a.scheduled_event_id,
            A::ActivityTaskTimedOut(a) => a.scheduled_event_id,
            A::ActivityTaskCanceled(a) => a.scheduled_event_id,
            _ => return false,
        };
        let Some(sequence) = self.activities.by_event.remove(&scheduled_event_id) else {
            return false;
        };
        let activity = self
            .activities
            .open
            .remove(&sequence)
            .expect("a bound activity is open");
        let failed = |retry_state, failure: &Option<Failure>| {
            Outcome::Failed(Box::new(activity_failure(
                &activity,
                sequence,
                retry_state,
                failure.clone().unwrap_or_default(),
            )))
        };
        let outcome = match attributes {
            A::ActivityTaskCompleted(a) => Outcome::Done(a.result.clone()),
            A::ActivityTaskFailed(a) => failed(a.retry_state, &a.failure),
            A::ActivityTaskTimedOut(a) => failed(a.retry_state, &a.failure),
            A::ActivityTaskCanceled(a) => Outcome::Cancelled(Box::new(activity_failure(
                &activity,
                sequence,
                RetryState::CancelRequested,
                cancelled("activity canceled".to_owned(), a.details.clone()),
            ))),
            _ => return false,
        };
        self.slots.resolve(sequence, outcome);
        true
    }
}

fn activity_failure(
    activity: &OpenActivity,
    sequence: Sequence,
    retry_state: RetryState,
    cause: Failure,
) -> Failure {
    Failure {
        message: format!("activity {} failed", activity.activity_type),
        source: SOURCE.to_owned(),
        cause: Some(Box::new(cause)),
        failure_info: Some(FailureFailureInfo::ActivityFailureInfo(
            ActivityFailureInfo {
                scheduled_event_id: activity.scheduled_event_id,
                activity_type: Some(fermata_proto::common::ActivityType {
                    name: activity.activity_type.clone(),
                }),
                activity_id: sequence.to_string(),
                retry_state,
                ..ActivityFailureInfo::default()
            },
        )),
        ..Failure::default()
    }
}
