//! Child workflows of a run. A child has two steps: its start, and its end.
//!
//! | event | start | end |
//! |---|---|---|
//! | Initiated | | |
//! | StartFailed | fails | fails |
//! | Started | done, with the run id | |
//! | Completed, Failed, Canceled, TimedOut, Terminated | | ends |

use std::collections::BTreeMap;

use fermata_proto::command::{
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
};
use fermata_proto::common::{Payloads, WorkflowExecution, WorkflowType};
use fermata_proto::enums::{RetryState, StartChildWorkflowExecutionFailedCause, TimeoutType};
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};
use fermata_proto::failure::*;

use super::scope::ScopeId;
use super::slot::{Outcome, Sequence};
use super::state::State;
use crate::error::{SOURCE, cancelled};
use crate::payload::to_payloads;

/// What happens to a child that its workflow cancels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChildCancellation {
    /// It is asked to cancel, and the workflow waits until it has closed.
    #[default]
    WaitCompleted,
    /// It is asked to cancel; the workflow goes on at once.
    TryCancel,
    /// It goes on and nobody waits for it.
    Abandon,
}

struct OpenChild {
    namespace: String,
    workflow_id: String,
    workflow_type: String,
    run_id: String,
    cancellation: ChildCancellation,
    scope: ScopeId,
    /// The step of its end; that of its start is the child's own number.
    end: Sequence,
    initiated_event_id: i64,
    started_event_id: i64,
    cancel_requested: bool,
}

#[derive(Default)]
pub(crate) struct Children {
    open: BTreeMap<Sequence, OpenChild>,
    by_event: BTreeMap<i64, Sequence>,
}

impl Children {
    /// What goes down with `scopes`.
    pub fn within(&self, scopes: &[ScopeId]) -> Vec<Sequence> {
        let open = self.open.iter();
        let within = open.filter(|(_, child)| scopes.contains(&child.scope));
        within.map(|(sequence, _)| *sequence).collect()
    }
}

/// The two steps of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChildSteps {
    pub start: Sequence,
    pub end: Sequence,
}

impl State {
    pub fn start_child(
        &mut self,
        attributes: StartChildWorkflowExecutionCommandAttributes,
        cancellation: ChildCancellation,
        scope: ScopeId,
    ) -> ChildSteps {
        let start = self.next_sequence();
        let end = self.next_sequence();
        self.slots.open(start);
        self.slots.open(end);
        self.children.open.insert(
            start,
            OpenChild {
                namespace: attributes.namespace.clone(),
                workflow_id: attributes.workflow_id.clone(),
                workflow_type: attributes
                    .workflow_type
                    .as_ref()
                    .map(|workflow_type| workflow_type.name.clone())
                    .unwrap_or_default(),
                run_id: String::new(),
                cancellation,
                scope,
                end,
                initiated_event_id: 0,
                started_event_id: 0,
                cancel_requested: false,
            },
        );
        self.commands.push(start, attributes);
        ChildSteps { start, end }
    }

    /// Cancels a child by the number of its start.
    pub fn cancel_child(&mut self, start: Sequence) {
        let Some(child) = self.children.open.get_mut(&start) else {
            return;
        };
        if child.cancel_requested {
            return;
        }
        child.cancel_requested = true;
        let (end, cancellation) = (child.end, child.cancellation);
        let cause = cancelled("the workflow cancelled the child".to_owned(), None);
        let failure = child_failure(child, RetryState::CancelRequested, cause);
        let outcome = Outcome::Cancelled(Box::new(failure));
        if child.initiated_event_id == 0 {
            if self.commands.retract(start) {
                self.children.open.remove(&start);
            }
            self.slots.resolve(start, outcome.clone());
            self.slots.resolve(end, outcome);
            return;
        }
        if cancellation != ChildCancellation::WaitCompleted {
            self.slots.resolve(end, outcome);
        }
        if cancellation != ChildCancellation::Abandon {
            let child = &self.children.open[&start];
            let cancel = RequestCancelExternalWorkflowExecutionCommandAttributes {
                namespace: child.namespace.clone(),
                workflow_id: child.workflow_id.clone(),
                child_workflow_only: true,
                ..RequestCancelExternalWorkflowExecutionCommandAttributes::default()
            };
            // Nobody awaits the request itself: a child that has closed meanwhile says so by its own event.
            self.request_cancel_external(cancel, false);
        }
    }

    pub(super) fn met_child(&mut self, sequence: Sequence, event: &HistoryEvent) {
        if let Some(child) = self.children.open.get_mut(&sequence) {
            child.initiated_event_id = event.event_id;
            self.children.by_event.insert(event.event_id, sequence);
        }
    }

    /// Takes the events of a child. False if it is not open.
    pub(super) fn move_child(
        &mut self,
        event: &HistoryEvent,
        attributes: &HistoryEventAttributes,
    ) -> bool {
        use HistoryEventAttributes as A;
        let initiated_event_id = match attributes {
            A::ChildWorkflowExecutionStarted(a) => a.initiated_event_id,
            A::StartChildWorkflowExecutionFailed(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionCompleted(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionFailed(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionCanceled(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionTimedOut(a) => a.initiated_event_id,
            A::ChildWorkflowExecutionTerminated(a) => a.initiated_event_id,
            _ => return false,
        };
        let Some(&start) = self.children.by_event.get(&initiated_event_id) else {
            return false;
        };
        if let A::ChildWorkflowExecutionStarted(a) = attributes {
            let run_id = a
                .workflow_execution
                .as_ref()
                .map(|execution| execution.run_id.clone())
                .unwrap_or_default();
            if let Some(child) = self.children.open.get_mut(&start) {
                child.run_id.clone_from(&run_id);
                child.started_event_id = event.event_id;
            }
            self.slots.resolve(start, Outcome::Done(text(&run_id)));
            return true;
        }
        self.children.by_event.remove(&initiated_event_id);
        let child = self
            .children
            .open
            .remove(&start)
            .expect("a bound child is open");
        let outcome = outcome(&child, attributes);
        self.slots.resolve(child.end, outcome.clone());
        if let A::StartChildWorkflowExecutionFailed(_) = attributes {
            self.slots.resolve(start, outcome);
        }
        true
    }
}

fn text(text: &str) -> Option<Payloads> {
    to_payloads(&text.to_owned()).expect("text has a JSON form")
}

fn outcome(child: &OpenChild, attributes: &HistoryEventAttributes) -> Outcome {
    use HistoryEventAttributes as A;
    let failed =
        |retry_state, cause| Outcome::Failed(Box::new(child_failure(child, retry_state, cause)));
    let server = |message: &str, info| Failure {
        message: message.to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(info),
        ..Failure::default()
    };
    match attributes {
        A::ChildWorkflowExecutionCompleted(a) => Outcome::Done(a.result.clone()),
        A::ChildWorkflowExecutionFailed(a) => {
            failed(a.retry_state, a.failure.clone().unwrap_or_default())
        }
        A::ChildWorkflowExecutionCanceled(a) => Outcome::Cancelled(Box::new(child_failure(
            child,
            RetryState::CancelRequested,
            cancelled("child workflow canceled".to_owned(), a.details.clone()),
        ))),
        A::ChildWorkflowExecutionTimedOut(a) => failed(
            a.retry_state,
            server(
                "child workflow timed out",
                FailureFailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
                    timeout_type: TimeoutType::StartToClose,
                    last_heartbeat_details: None,
                }),
            ),
        ),
        A::ChildWorkflowExecutionTerminated(_) => failed(
            RetryState::NonRetryableFailure,
            server(
                "child workflow terminated",
                FailureFailureInfo::TerminatedFailureInfo(TerminatedFailureInfo::default()),
            ),
        ),
        A::StartChildWorkflowExecutionFailed(a) => {
            let (message, error_type) = match a.cause {
                StartChildWorkflowExecutionFailedCause::NamespaceNotFound => {
                    ("the namespace does not exist", "NamespaceNotFound")
                }
                StartChildWorkflowExecutionFailedCause::WorkflowAlreadyExists => (
                    "a workflow with this id exists already",
                    "WorkflowExecutionAlreadyStarted",
                ),
                StartChildWorkflowExecutionFailedCause::InvalidVersioningOverride
                | StartChildWorkflowExecutionFailedCause::Unspecified => {
                    ("the child could not be started", "StartChildFailed")
                }
            };
            let info = ApplicationFailureInfo {
                r#type: error_type.to_owned(),
                non_retryable: true,
                ..ApplicationFailureInfo::default()
            };
            failed(
                RetryState::NonRetryableFailure,
                server(message, FailureFailureInfo::ApplicationFailureInfo(info)),
            )
        }
        other => unreachable!("{:?} ends no child", other.event_type()),
    }
}

fn child_failure(child: &OpenChild, retry_state: RetryState, cause: Failure) -> Failure {
    Failure {
        message: format!("child workflow {} failed", child.workflow_type),
        source: SOURCE.to_owned(),
        cause: Some(Box::new(cause)),
        failure_info: Some(FailureFailureInfo::ChildWorkflowExecutionFailureInfo(
            ChildWorkflowExecutionFailureInfo {
                namespace: child.namespace.clone(),
                workflow_execution: Some(WorkflowExecution {
                    workflow_id: child.workflow_id.clone(),
                    run_id: child.run_id.clone(),
                }),
                workflow_type: Some(WorkflowType {
                    name: child.workflow_type.clone(),
                }),
                initiated_event_id: child.initiated_event_id,
                started_event_id: child.started_event_id,
                retry_state,
            },
        )),
        ..Failure::default()
    }
}
