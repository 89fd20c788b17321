//! How a run is closed: the command that its end makes.

use fermata_proto::command::{
    CancelWorkflowExecutionCommandAttributes, CommandAttributes,
    CompleteWorkflowExecutionCommandAttributes, FailWorkflowExecutionCommandAttributes,
};
use fermata_proto::common::Payloads;
use fermata_proto::failure::{CanceledFailureInfo, Failure, FailureFailureInfo};

use super::failure::TaskFailure;
use super::state::{Ended, State};
use crate::error::WorkflowError;
use crate::workflow::WorkflowInfo;

/// The command that closes the run.
pub(super) fn closing_command(
    state: &State,
    info: &WorkflowInfo,
    ended: Ended,
) -> Result<CommandAttributes, TaskFailure> {
    Ok(match ended {
        Ok(result) => CompleteWorkflowExecutionCommandAttributes { result }.into(),
        // Code that reports a cancellation nobody asked for has failed.
        Err(WorkflowError::Cancelled(failure)) if state.cancel_requested.is_some() => {
            CancelWorkflowExecutionCommandAttributes {
                details: details_of_cancel(*failure),
            }
            .into()
        }
        Err(WorkflowError::Failed(failure) | WorkflowError::Cancelled(failure)) => {
            FailWorkflowExecutionCommandAttributes {
                failure: Some(*failure),
            }
            .into()
        }
        Err(WorkflowError::ContinueAsNew(next)) => next
            .into_attributes(info, state)
            .map_err(TaskFailure::Code)?
            .into(),
        Err(WorkflowError::TaskFailed(message)) => return Err(TaskFailure::Code(message)),
    })
}

/// The details that the innermost cancellation carries.
fn details_of_cancel(failure: Failure) -> Option<Payloads> {
    match failure.failure_info {
        Some(FailureFailureInfo::CanceledFailureInfo(CanceledFailureInfo { details, .. })) => {
            details
        }
        _ => failure.cause.and_then(|cause| details_of_cancel(*cause)),
    }
}
