//! What the callers of an update hear, and when.
//!
//! | caller waits for | it is answered when the update is |
//! |---|---|
//! | nothing (a poll without a stage), admitted | known |
//! | accepted | accepted; with the outcome, if that came with the same workflow task |
//! | completed | completed, rejected or aborted |
//!
//! The shell parks a [`Wait`] that is not over, tells it of every [`crate::Effect::UpdateMoved`], and ends it in time.

use fermata_proto::common::*;
use fermata_proto::enums::{EventType, UpdateWorkflowExecutionLifecycleStage as Lifecycle};
use fermata_proto::multi_operation::update_failed;
use fermata_proto::rpc::{Answer, Rejection, RejectionKind, Request, Response};
use fermata_proto::service::*;
use fermata_proto::update::{Outcome, OutcomeValue, UpdateRef};

use crate::multi_operation;
use crate::run::Run;
use crate::update::{self, Stage};

/// How far an update is, as its callers may be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    Admitted,
    Accepted,
    Completed(Box<Outcome>),
    /// Completed; the outcome is that of this event of the run's history.
    CompletedBy(i64),
    /// It will not happen.
    Aborted(Box<Rejection>),
}

/// A caller, and what it waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    pub run_id: String,
    pub update_id: String,
    pub(crate) workflow_id: String,
    pub(crate) namespace: String,
    pub(crate) request_id: String,
    pub(crate) stage: Lifecycle,
    pub(crate) form: Form,
}

/// The request that is to be answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    Update,
    Poll,
    /// Update-with-start, with what it says of the start.
    WithStart {
        start: Box<StartWorkflowExecutionResponse>,
        /// The update was complete before: nothing is linked.
        was_complete: bool,
        again: Again,
    },
}

/// What happens to an update-with-start whose update went to a run that closes before a worker accepts it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Again {
    /// Nothing: it has started the run.
    Never,
    /// It is asked once more, and may start another run.
    Once(Box<ExecuteMultiOperationRequest>),
    /// It was: its caller may ask again.
    Was,
}

/// A caller and how its update stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Awaited {
    pub wait: Wait,
    pub status: Status,
}

impl Run {
    /// How far an update is; nothing if it is unknown.
    pub fn update_status(&self, update_id: &str) -> Option<Status> {
        let update = self.updates.get(update_id)?;
        Some(match update.stage {
            Stage::Admitted | Stage::Sent => Status::Admitted,
            Stage::Accepted if self.is_open() => Status::Accepted,
            Stage::Accepted => Status::Completed(Box::new(update::outlived())),
            Stage::Completed => Status::CompletedBy(update.completed_event_id),
        })
    }
}

impl Wait {
    /// Whether an update that is this far is what the caller waits for.
    pub fn is_over(&self, status: &Status) -> bool {
        match status {
            Status::Admitted => self.stage <= Lifecycle::Admitted,
            Status::Accepted => self.stage <= Lifecycle::Accepted,
            Status::Completed(_) | Status::CompletedBy(_) | Status::Aborted(_) => true,
        }
    }

    /// The request, if it is to be asked once more instead of being answered.
    pub fn again(&self, status: &Status) -> Option<Request> {
        match (&self.form, status) {
            (
                Form::WithStart {
                    again: Again::Once(request),
                    ..
                },
                Status::Aborted(rejection),
            ) if rejection.kind == RejectionKind::NotFound => {
                Some(Request::ExecuteMultiOperation(request.clone()))
            }
            _ => None,
        }
    }

    /// This is what came of asking once more.
    #[must_use]
    pub fn repeated(mut self) -> Self {
        if let Form::WithStart { again, .. } = &mut self.form
            && matches!(again, Again::Once(_))
        {
            *again = Again::Was;
        }
        self
    }

    /// What the caller hears of an update that is this far, whether that is what it waits for or not.
    pub fn answer(&self, status: &Status) -> Answer {
        let (stage, outcome) = match status {
            Status::Admitted => (Lifecycle::Admitted, None),
            Status::Accepted => (Lifecycle::Accepted, None),
            Status::Completed(outcome) => (Lifecycle::Completed, Some((**outcome).clone())),
            Status::CompletedBy(event_id) => {
                let text = format!(
                    "the outcome of update {:?} was not read from event {event_id}",
                    self.update_id
                );
                return self.refuse(Rejection::new(RejectionKind::Internal, text));
            }
            Status::Aborted(rejection) => return self.aborted((**rejection).clone()),
        };
        let link = self.link(stage, outcome.as_ref());
        let update_ref = Some(UpdateRef {
            workflow_execution: Some(WorkflowExecution {
                workflow_id: self.workflow_id.clone(),
                run_id: self.run_id.clone(),
            }),
            update_id: self.update_id.clone(),
        });
        let response = UpdateWorkflowExecutionResponse {
            update_ref,
            outcome,
            stage,
            link,
        };
        Ok(match &self.form {
            Form::Update => Response::UpdateWorkflowExecution(Box::new(response)),
            Form::Poll => Response::PollWorkflowExecutionUpdate(Box::new(
                PollWorkflowExecutionUpdateResponse {
                    outcome: response.outcome,
                    stage,
                    update_ref: response.update_ref,
                },
            )),
            Form::WithStart { start, .. } => multi_operation::response((**start).clone(), response),
        })
    }

    fn aborted(&self, rejection: Rejection) -> Answer {
        let was_repeated = matches!(
            self.form,
            Form::WithStart {
                again: Again::Was,
                ..
            }
        );
        self.refuse(
            if was_repeated && rejection.kind == RejectionKind::NotFound {
                Rejection::new(RejectionKind::Aborted, rejection.message)
            } else {
                rejection
            },
        )
    }

    /// The caller's time is over before anything can be said.
    pub fn refuse(&self, rejection: Rejection) -> Answer {
        Err(match &self.form {
            Form::WithStart { start, .. } => update_failed(start.started, rejection),
            Form::Update | Form::Poll => rejection,
        })
    }

    /// To the accepted event; of a failed update, which may have left no event, to the workflow.
    fn link(&self, stage: Lifecycle, outcome: Option<&Outcome>) -> Option<Link> {
        let was_complete = matches!(
            self.form,
            Form::WithStart {
                was_complete: true,
                ..
            }
        );
        if stage < Lifecycle::Accepted || was_complete || self.form == Form::Poll {
            return None;
        }
        let is_failure =
            outcome.is_some_and(|outcome| matches!(outcome.value, Some(OutcomeValue::Failure(_))));
        let variant = if is_failure {
            LinkVariant::Workflow(LinkWorkflow {
                namespace: self.namespace.clone(),
                workflow_id: self.workflow_id.clone(),
                run_id: self.run_id.clone(),
                reason: "Update rejected".to_owned(),
            })
        } else {
            LinkVariant::WorkflowEvent(LinkWorkflowEvent {
                namespace: self.namespace.clone(),
                workflow_id: self.workflow_id.clone(),
                run_id: self.run_id.clone(),
                reference: Some(LinkWorkflowEventReference::RequestIdRef(
                    LinkWorkflowEventRequestIdReference {
                        request_id: self.request_id.clone(),
                        event_type: EventType::WorkflowExecutionUpdateAccepted,
                    },
                )),
            })
        };
        Some(Link {
            variant: Some(variant),
        })
    }
}
