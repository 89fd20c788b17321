//! Why a client's request or a workflow's result is not to be had.

use std::fmt;

use fermata_proto::failure::Failure;
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind};

use crate::error::{WorkflowError, write_failure};
use crate::payload::PayloadError;

/// A request that was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Connect(#[from] fermata_transport::ConnectError),
    #[error("namespace {namespace:?} does not exist")]
    NamespaceNotFound { namespace: String },
    #[error("this process and the deployment are of versions that do not go together")]
    OtherVersion {
        #[source]
        source: Rejection,
    },
    #[error("{what} {workflow_id:?}")]
    Rejected {
        what: &'static str,
        workflow_id: String,
        #[source]
        source: Rejection,
    },
    #[error("{what} {workflow_id:?}: the value has no payload form")]
    Payload {
        what: &'static str,
        workflow_id: String,
        #[source]
        source: PayloadError,
    },
    #[error("{what} {workflow_id:?}: the engine answered with something else")]
    Unexpected {
        what: &'static str,
        workflow_id: String,
    },
    #[error("find an activity: its token is none")]
    NoToken,
    #[error("start workflow {workflow_id:?}: set the task queue")]
    NoQueue { workflow_id: String },
}

impl ClientError {
    /// No such workflow exists, or, for what needs an open one, it has closed.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Rejected { source, .. } if source.kind == RejectionKind::NotFound)
    }

    /// The run that stands in the way of a start, if one does.
    pub fn already_started(&self) -> Option<&str> {
        match self {
            Self::Rejected { source, .. } => match source.detail.as_deref() {
                Some(ErrorDetail::WorkflowExecutionAlreadyStarted(detail)) => Some(&detail.run_id),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A workflow that gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    #[error("workflow {workflow_id:?} failed: {}", Line(failure))]
    Failed {
        workflow_id: String,
        failure: Box<Failure>,
    },
    #[error("workflow {workflow_id:?} was cancelled")]
    Cancelled { workflow_id: String },
    #[error("workflow {workflow_id:?} was terminated: {reason}")]
    Terminated { workflow_id: String, reason: String },
    #[error("workflow {workflow_id:?} timed out")]
    TimedOut { workflow_id: String },
    #[error("read the result of workflow {workflow_id:?}")]
    Payload {
        workflow_id: String,
        #[source]
        source: PayloadError,
    },
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl ResultError {
    /// The failure as code of a workflow would see it, with its types and details.
    pub fn workflow_error(&self) -> Option<WorkflowError> {
        match self {
            Self::Failed { failure, .. } => Some(WorkflowError::Failed(failure.clone())),
            _ => None,
        }
    }
}

/// An update that gave no result.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Its validator refused it, its handler failed, or the workflow ended before the handler.
    #[error(
        "update {update_id:?} of workflow {workflow_id:?} failed: {}",
        Line(failure)
    )]
    Failed {
        update_id: String,
        workflow_id: String,
        failure: Box<Failure>,
    },
    #[error("read the result of update {update_id:?} of workflow {workflow_id:?}")]
    Payload {
        update_id: String,
        workflow_id: String,
        #[source]
        source: PayloadError,
    },
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl UpdateError {
    /// The failure as code of a workflow would see it, with its types and details.
    pub fn workflow_error(&self) -> Option<WorkflowError> {
        match self {
            Self::Failed { failure, .. } => Some(WorkflowError::Failed(failure.clone())),
            _ => None,
        }
    }
}

struct Line<'a>(&'a Failure);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_failure(f, self.0)
    }
}
