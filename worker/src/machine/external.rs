//! Signals and cancel requests to other workflows: initiated by a command, answered by an event.

use std::collections::BTreeMap;

use fermata_proto::command::{
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes,
};
use fermata_proto::enums::{
    CancelExternalWorkflowExecutionFailedCause, SignalExternalWorkflowExecutionFailedCause,
};
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};

use super::slot::{Outcome, Sequence};
use super::state::State;
use crate::error::ApplicationError;

/// Requests that history shows and nobody has answered.
#[derive(Default)]
pub(crate) struct ExternalRequests {
    by_event: BTreeMap<i64, Sequence>,
}

impl State {
    pub fn signal_external(
        &mut self,
        attributes: SignalExternalWorkflowExecutionCommandAttributes,
    ) -> Sequence {
        let sequence = self.next_sequence();
        self.slots.open(sequence);
        self.commands.push(sequence, attributes);
        sequence
    }

    /// `awaited` opens a slot for the answer.
    pub fn request_cancel_external(
        &mut self,
        attributes: RequestCancelExternalWorkflowExecutionCommandAttributes,
        awaited: bool,
    ) -> Sequence {
        let sequence = self.next_sequence();
        if awaited {
            self.slots.open(sequence);
        }
        self.commands.push(sequence, attributes);
        sequence
    }

    pub(super) fn met_external(&mut self, sequence: Sequence, event: &HistoryEvent) {
        self.externals.by_event.insert(event.event_id, sequence);
    }

    /// Takes the answers. False if nothing was asked.
    pub(super) fn answer_external(&mut self, attributes: &HistoryEventAttributes) -> bool {
        use HistoryEventAttributes as A;
        let (initiated_event_id, refused) = match attributes {
            A::ExternalWorkflowExecutionSignaled(a) => (a.initiated_event_id, None),
            A::ExternalWorkflowExecutionCancelRequested(a) => (a.initiated_event_id, None),
            A::SignalExternalWorkflowExecutionFailed(a) => {
                (a.initiated_event_id, Some(signal_refused(a.cause)))
            }
            A::RequestCancelExternalWorkflowExecutionFailed(a) => {
                (a.initiated_event_id, Some(cancel_refused(a.cause)))
            }
            _ => return false,
        };
        let Some(sequence) = self.externals.by_event.remove(&initiated_event_id) else {
            return false;
        };
        let outcome = match refused {
            None => Outcome::Done(None),
            Some(error) => Outcome::Failed(Box::new(error.into_failure())),
        };
        self.slots.resolve(sequence, outcome);
        true
    }
}

fn refused(message: &str, error_type: &str) -> ApplicationError {
    ApplicationError::new(message)
        .with_type(error_type)
        .non_retryable()
}

fn signal_refused(cause: SignalExternalWorkflowExecutionFailedCause) -> ApplicationError {
    use SignalExternalWorkflowExecutionFailedCause as Cause;
    match cause {
        Cause::NamespaceNotFound => refused("the namespace does not exist", "NamespaceNotFound"),
        Cause::SignalCountLimitExceeded => refused(
            "the workflow has taken too many signals",
            "SignalCountLimitExceeded",
        ),
        Cause::ExternalWorkflowExecutionNotFound | Cause::Unspecified => {
            refused("no such workflow is open", "WorkflowNotFound")
        }
    }
}

fn cancel_refused(cause: CancelExternalWorkflowExecutionFailedCause) -> ApplicationError {
    use CancelExternalWorkflowExecutionFailedCause as Cause;
    match cause {
        Cause::NamespaceNotFound => refused("the namespace does not exist", "NamespaceNotFound"),
        Cause::ExternalWorkflowExecutionNotFound | Cause::Unspecified => {
            refused("no such workflow exists", "WorkflowNotFound")
        }
    }
}
