//! Local activities of a run: run by the worker that holds the workflow task, and recorded by a marker when they have ended.
//!
//! | state | an end from the worker | a marker of history | cancel |
//! |---|---|---|---|
//! | asked for | a marker command; the code goes on | the code goes on | cancelled at once, without a marker; with `WaitCompleted` the worker is told, and its end counts |
//! | ended | dropped | non-determinism | nothing |
//!
//! Ends reach the code one after the other, each with all that the code does about it before the next: live in the order in
//! which they came, and in every replay in the order of their markers. A backoff that is too long to be waited for within
//! workflow tasks is an end too: the code starts a timer and then another local activity, see
//! [`crate::workflow::LocalActivityFuture`].

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_proto::command::RecordMarkerCommandAttributes;
use fermata_proto::common::{Payload, Payloads, RetryPolicy};
use fermata_proto::enums::RetryState;
use fermata_proto::failure::{ActivityFailureInfo, Failure, FailureFailureInfo};
use fermata_proto::time::Timestamp;

use super::activity::ActivityCancellation;
use super::command::NonDeterminism;
use super::marker::{self, LocalActivityData, RecordedLocalActivity};
use super::scope::ScopeId;
use super::slot::{Outcome, Sequence};
use super::state::State;
use crate::error::{SOURCE, cancelled};

/// What code asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalActivity {
    pub activity_type: String,
    pub input: Option<Payloads>,
    pub headers: BTreeMap<String, Payload>,
    /// The first attempt that is made; more than 1 after a backoff by a timer.
    pub attempt: u32,
    /// Of the first attempt.
    pub original_schedule_time: Timestamp,
    pub start_to_close: Option<Duration>,
    pub schedule_to_close: Option<Duration>,
    pub retry: RetryPolicy,
    /// A longer backoff is waited for by a timer.
    pub local_backoff_max: Duration,
}

/// A local activity for the worker to run.
#[derive(Debug, Clone)]
pub(crate) struct LocalActivityTask {
    pub sequence: Sequence,
    pub activity: LocalActivity,
    /// The workflow's clock when it was asked for.
    pub scheduled_at: Timestamp,
}

/// How a local activity ended, as the worker tells it.
#[derive(Debug, Clone)]
pub(crate) struct LocalActivityEnd {
    pub sequence: Sequence,
    /// The last attempt.
    pub attempt: u32,
    /// Since the workflow task was taken.
    pub elapsed: Duration,
    pub result: LocalActivityResult,
}

#[derive(Debug, Clone)]
pub(crate) enum LocalActivityResult {
    Completed(Option<Payloads>),
    Failed(Box<Failure>, RetryState),
    Cancelled(Option<Payloads>),
    /// Failed, and to be tried again after this long.
    Backoff(Box<Failure>, Duration),
}

struct OpenLocalActivity {
    activity_type: String,
    scope: ScopeId,
    cancellation: ActivityCancellation,
    original_schedule_time: Timestamp,
    cancel_requested: bool,
}

#[derive(Default)]
pub(crate) struct LocalActivities {
    open: BTreeMap<Sequence, OpenLocalActivity>,
    /// What the worker has not been given yet.
    to_start: BTreeMap<Sequence, LocalActivityTask>,
    /// What the worker is to stop.
    to_cancel: Vec<Sequence>,
}

impl LocalActivities {
    /// What goes down with `scopes`.
    pub fn within(&self, scopes: &[ScopeId]) -> Vec<Sequence> {
        let within = self
            .open
            .iter()
            .filter(|(_, activity)| scopes.contains(&activity.scope));
        within.map(|(sequence, _)| *sequence).collect()
    }

    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub fn take_to_start(&mut self) -> Vec<LocalActivityTask> {
        std::mem::take(&mut self.to_start).into_values().collect()
    }

    pub fn take_to_cancel(&mut self) -> Vec<Sequence> {
        std::mem::take(&mut self.to_cancel)
    }
}

impl State {
    pub fn schedule_local_activity(
        &mut self,
        mut activity: LocalActivity,
        cancellation: ActivityCancellation,
        scope: ScopeId,
    ) -> Sequence {
        let sequence = self.next_sequence();
        if activity.attempt <= 1 {
            activity.original_schedule_time = self.now;
        }
        self.slots.open(sequence);
        self.local_activities.open.insert(
            sequence,
            OpenLocalActivity {
                activity_type: activity.activity_type.clone(),
                scope,
                cancellation,
                original_schedule_time: activity.original_schedule_time,
                cancel_requested: false,
            },
        );
        let task = LocalActivityTask {
            sequence,
            activity,
            scheduled_at: self.now,
        };
        self.local_activities.to_start.insert(sequence, task);
        sequence
    }

    pub fn cancel_local_activity(&mut self, sequence: Sequence) {
        let Some(activity) = self.local_activities.open.get_mut(&sequence) else {
            return;
        };
        if activity.cancel_requested {
            return;
        }
        activity.cancel_requested = true;
        if activity.cancellation == ActivityCancellation::WaitCompleted {
            self.local_activities.to_cancel.push(sequence);
            return;
        }
        let is_abandoned = activity.cancellation == ActivityCancellation::Abandon;
        let cause = cancelled("the workflow cancelled the activity".to_owned(), None);
        let failure = failure(
            &activity.activity_type,
            sequence,
            RetryState::CancelRequested,
            cause,
        );
        let was_given = self.local_activities.to_start.remove(&sequence).is_none();
        if was_given && !is_abandoned {
            self.local_activities.to_cancel.push(sequence);
        }
        self.local_activities.open.remove(&sequence);
        self.slots
            .resolve(sequence, Outcome::Cancelled(Box::new(failure)));
    }

    /// Takes an end from the worker and asks for its marker. False if nobody waits for it any more.
    pub(super) fn end_local_activity(&mut self, end: LocalActivityEnd) -> bool {
        let LocalActivityEnd {
            sequence,
            attempt,
            elapsed,
            result,
        } = end;
        let Some(activity) = self.local_activities.open.get(&sequence) else {
            return false;
        };
        let wrapped = |retry_state, cause| {
            Some(failure(
                &activity.activity_type,
                sequence,
                retry_state,
                cause,
            ))
        };
        let (result, failure, backoff) = match result {
            LocalActivityResult::Completed(result) => (result, None, None),
            LocalActivityResult::Failed(cause, retry_state) => {
                (None, wrapped(retry_state, *cause), None)
            }
            LocalActivityResult::Cancelled(details) => {
                let cause = cancelled("activity canceled".to_owned(), details);
                (None, wrapped(RetryState::CancelRequested, cause), None)
            }
            LocalActivityResult::Backoff(cause, delay) => (
                None,
                wrapped(RetryState::InProgress, *cause),
                Some(delay.into()),
            ),
        };
        let seq = u32::try_from(sequence).unwrap_or(u32::MAX);
        let data = LocalActivityData {
            seq,
            attempt,
            activity_id: sequence.to_string(),
            activity_type: activity.activity_type.clone(),
            complete_time: Some((self.task_started + elapsed).into()),
            backoff,
            original_schedule_time: Some(activity.original_schedule_time.into()),
        };
        let mut details: BTreeMap<_, _> = [(marker::DATA.to_owned(), marker::json(&data))].into();
        if let Some(result) = &result {
            details.insert(marker::RESULT.to_owned(), result.clone());
        }
        let attributes = RecordMarkerCommandAttributes {
            marker_name: marker::LOCAL_ACTIVITY.to_owned(),
            details,
            failure: failure.clone(),
            ..RecordMarkerCommandAttributes::default()
        };
        let id = marker::local_activity_id(seq, &data.activity_type);
        self.commands.push_marker(sequence, id, attributes);
        self.resolve_local_activity(sequence, &data, result, failure);
        true
    }

    /// Takes an end out of history and asks for the marker that stands there.
    pub(super) fn replay_local_activity(
        &mut self,
        recorded: RecordedLocalActivity,
    ) -> Result<(), NonDeterminism> {
        let RecordedLocalActivity {
            event_id,
            data,
            marker,
        } = recorded;
        let sequence = Sequence::from(data.seq);
        let id = marker::local_activity_id(data.seq, &data.activity_type);
        let event = || format!("RecordMarker ({}, id {id:?})", marker::LOCAL_ACTIVITY);
        let Some(open) = self.local_activities.open.get(&sequence) else {
            return Err(NonDeterminism::Unknown {
                event_id,
                event: event(),
            });
        };
        if open.activity_type != data.activity_type {
            return Err(NonDeterminism::Different {
                event_id,
                event: event(),
                command: format!(
                    "a local activity ({}, id \"{sequence}\")",
                    open.activity_type
                ),
            });
        }
        self.local_activities.to_start.remove(&sequence);
        let marker = std::sync::Arc::unwrap_or_clone(marker);
        let result = marker.details.get(marker::RESULT).cloned();
        let failure = marker.failure.clone();
        let attributes = RecordMarkerCommandAttributes {
            marker_name: marker.marker_name,
            details: marker.details,
            header: marker.header,
            failure: marker.failure,
        };
        self.commands.push_marker(sequence, id, attributes);
        self.resolve_local_activity(sequence, &data, result, failure);
        Ok(())
    }

    fn resolve_local_activity(
        &mut self,
        sequence: Sequence,
        data: &LocalActivityData,
        result: Option<Payloads>,
        failure: Option<Failure>,
    ) {
        self.local_activities.open.remove(&sequence);
        if let Some(time) = data.complete_time {
            self.now = self.now.max(time.into());
        }
        let outcome = match (failure, data.backoff) {
            (None, _) => Outcome::Done(result),
            (Some(_), Some(delay)) => Outcome::Backoff {
                delay: delay.into(),
                attempt: data.attempt + 1,
                original_schedule_time: data
                    .original_schedule_time
                    .map_or(self.now, Timestamp::from),
            },
            (Some(failure), None) if is_cancelled(&failure) => {
                Outcome::Cancelled(Box::new(failure))
            }
            (Some(failure), None) => Outcome::Failed(Box::new(failure)),
        };
        self.slots.resolve(sequence, outcome);
    }
}

fn is_cancelled(failure: &Failure) -> bool {
    let is_cancel = |failure: &Failure| {
        matches!(
            failure.failure_info,
            Some(FailureFailureInfo::CanceledFailureInfo(_))
        )
    };
    is_cancel(failure) || failure.cause.as_deref().is_some_and(is_cancel)
}

fn failure(
    activity_type: &str,
    sequence: Sequence,
    retry_state: RetryState,
    cause: Failure,
) -> Failure {
    Failure {
        message: format!("local activity {activity_type} failed"),
        source: SOURCE.to_owned(),
        cause: Some(Box::new(cause)),
        failure_info: Some(FailureFailureInfo::ActivityFailureInfo(
            ActivityFailureInfo {
                activity_type: Some(fermata_proto::common::ActivityType {
                    name: activity_type.to_owned(),
                }),
                activity_id: sequence.to_string(),
                retry_state,
                ..ActivityFailureInfo::default()
            },
        )),
        ..Failure::default()
    }
}
