//! Why a workflow task fails, in words for the workflow's author. The task is tried again, so that corrected code heals it.

use fermata_proto::enums::WorkflowTaskFailedCause;
use fermata_proto::failure::Failure;

use super::command::NonDeterminism;
use crate::error::ApplicationError;

/// Why a workflow task fails.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TaskFailure {
    #[error("nondeterminism: {0}; {advice}", advice = .0.advice())]
    NonDeterminism(#[from] NonDeterminism),
    #[error("the workflow code panicked: {0}")]
    Panic(String),
    #[error("{0}")]
    Code(String),
    #[error(
        "the workflow code has not given way for {seconds} s: it waits for something outside, or never ends a loop; do I/O \
         and long computations in activities, and wait with ctx.sleep, ctx.wait_until or a signal"
    )]
    Deadlock { seconds: u64 },
    #[error("history event {found} comes where {expected} was due")]
    Gap { expected: i64, found: i64 },
    #[error("history begins without WorkflowExecutionStarted")]
    NotStarted,
    #[error("history event {event_id} is of a type that this worker does not know")]
    UnknownEvent { event_id: i64 },
}

impl TaskFailure {
    pub fn cause(&self) -> WorkflowTaskFailedCause {
        match self {
            Self::NonDeterminism(_) => WorkflowTaskFailedCause::NonDeterministicError,
            _ => WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure,
        }
    }

    pub fn to_failure(&self) -> Failure {
        let error_type = match self {
            Self::NonDeterminism(_) => "NonDeterminismError",
            Self::Panic(_) => "Panic",
            Self::Deadlock { .. } => "Deadlock",
            _ => "WorkflowTaskFailed",
        };
        ApplicationError::new(self.to_string())
            .with_type(error_type)
            .into_failure()
    }
}
