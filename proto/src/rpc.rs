//! Requests to the owner of a partition, and task references: what the api, the workers and other owners say to the engine.
//!
//! A [`Call`] goes by core NATS request/reply to [`crate::subjects::rpc`] of the partition that
//! `(namespace_id, workflow_id)` hashes to, MessagePack on both ways; the answer is an [`Answer`].
//! Every request of Temporal's WorkflowService that addresses one workflow id has a variant here, with the mirrored request
//! and response messages, so that the edge only converts. What is not Temporal's (claims, the messages between
//! partitions) stands below.
//!
//! An answer arrives only after its effects are durable. A caller that hears nothing may repeat: every request that
//! changes something carries a request id, a task token or a claim id that makes the repeat harmless.
//!
//! Persisted: variant names are the wire format and never change; a [`Request`] also lies in the outbox of a run.

use serde::{Deserialize, Serialize};

use crate::error_details::*;
use crate::event::HistoryEvent;
use crate::ids::{NamespaceId, WorkflowId};
use crate::schedule::*;
use crate::service::*;
use crate::{query::WorkflowQuery, taskqueue::TaskQueue, time::Timestamp, wire::is_default};

/// One request to the owner of a workflow id's partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub namespace_id: NamespaceId,
    pub workflow_id: WorkflowId,
    /// How long the caller still waits, in milliseconds; a request that waits (a long poll, a query) is answered before.
    /// 0 for some seconds.
    #[serde(default)]
    pub wait_ms: u32,
    pub request: Request,
}

/// What an owner can be asked. The namespace is resolved by the caller: `namespace` fields inside are for show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    StartWorkflowExecution(Box<StartWorkflowExecutionRequest>),
    SignalWithStartWorkflowExecution(Box<SignalWithStartWorkflowExecutionRequest>),
    SignalWorkflowExecution(Box<SignalWorkflow>),
    RequestCancelWorkflowExecution(Box<RequestCancelWorkflow>),
    TerminateWorkflowExecution(Box<TerminateWorkflow>),
    DeleteWorkflowExecution(Box<DeleteWorkflowExecutionRequest>),
    ResetWorkflowExecution(Box<ResetWorkflowExecutionRequest>),
    QueryWorkflow(Box<QueryWorkflowRequest>),
    UpdateWorkflowExecution(Box<UpdateWorkflowExecutionRequest>),
    PollWorkflowExecutionUpdate(Box<PollWorkflowExecutionUpdateRequest>),
    ExecuteMultiOperation(Box<ExecuteMultiOperationRequest>),
    DescribeWorkflowExecution(Box<DescribeWorkflowExecutionRequest>),
    GetWorkflowExecutionHistory(Box<GetWorkflowExecutionHistoryRequest>),
    GetWorkflowExecutionHistoryReverse(Box<GetWorkflowExecutionHistoryReverseRequest>),
    /// Takes a workflow task or a direct query task that a [`TaskReference`] names.
    ClaimWorkflowTask(Box<ClaimTask>),
    /// Takes an activity task that a [`TaskReference`] names.
    ClaimActivityTask(Box<ClaimTask>),
    RespondWorkflowTaskCompleted(Box<RespondWorkflowTaskCompletedRequest>),
    RespondWorkflowTaskFailed(Box<RespondWorkflowTaskFailedRequest>),
    RespondQueryTaskCompleted(Box<RespondQueryTaskCompletedRequest>),
    ResetStickyTaskQueue(Box<ResetStickyTaskQueueRequest>),
    RespondActivityTaskCompleted(Box<CompleteActivity>),
    RespondActivityTaskFailed(Box<RespondActivityTaskFailedRequest>),
    RespondActivityTaskCanceled(Box<RespondActivityTaskCanceledRequest>),
    RecordActivityTaskHeartbeat(Box<RecordActivityTaskHeartbeatRequest>),
    /// The worker has done its part; somebody else completes the activity, by its token or its id.
    DetachActivity(Box<DetachActivity>),
    RespondActivityTaskCompletedById(Box<RespondActivityTaskCompletedByIdRequest>),
    RespondActivityTaskFailedById(Box<RespondActivityTaskFailedByIdRequest>),
    RespondActivityTaskCanceledById(Box<RespondActivityTaskCanceledByIdRequest>),
    RecordActivityTaskHeartbeatById(Box<RecordActivityTaskHeartbeatByIdRequest>),
    PauseActivity(Box<PauseActivityRequest>),
    UnpauseActivity(Box<UnpauseActivityRequest>),
    ResetActivity(Box<ResetActivityRequest>),
    UpdateActivityOptions(Box<UpdateActivityOptionsRequest>),
    /// From a parent's outbox to the child's partition; answered by [`Response::StartWorkflowExecution`].
    StartChildWorkflow(Box<StartChildWorkflow>),
    /// From a closed child's outbox to its parent.
    RecordChildWorkflowClosed(Box<ChildWorkflowClosed>),
    CreateSchedule(Box<CreateScheduleRequest>),
    DescribeSchedule(Box<DescribeScheduleRequest>),
    UpdateSchedule(Box<UpdateScheduleRequest>),
    PatchSchedule(Box<PatchScheduleRequest>),
    DeleteSchedule(Box<DeleteScheduleRequest>),
    ListScheduleMatchingTimes(Box<ListScheduleMatchingTimesRequest>),
    /// From a schedule's outbox; answered by [`Response::StartWorkflowExecution`].
    StartScheduledWorkflow(Box<StartScheduledWorkflow>),
    /// From a closed workflow's outbox to the schedule that started it.
    RecordScheduledWorkflowClosed(Box<ScheduledWorkflowClosed>),
}

/// The answer of the same name as its request; `Done` where Temporal's response is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    Done,
    StartWorkflowExecution(Box<StartWorkflowExecutionResponse>),
    SignalWithStartWorkflowExecution(Box<SignalWithStartWorkflowExecutionResponse>),
    SignalWorkflowExecution(Box<SignalWorkflowExecutionResponse>),
    ResetWorkflowExecution(Box<ResetWorkflowExecutionResponse>),
    QueryWorkflow(Box<QueryWorkflowResponse>),
    UpdateWorkflowExecution(Box<UpdateWorkflowExecutionResponse>),
    PollWorkflowExecutionUpdate(Box<PollWorkflowExecutionUpdateResponse>),
    ExecuteMultiOperation(Box<ExecuteMultiOperationResponse>),
    DescribeWorkflowExecution(Box<DescribeWorkflowExecutionResponse>),
    GetWorkflowExecutionHistory(Box<GetWorkflowExecutionHistoryResponse>),
    GetWorkflowExecutionHistoryReverse(Box<GetWorkflowExecutionHistoryReverseResponse>),
    WorkflowTask(Box<PollWorkflowTaskQueueResponse>),
    ActivityTask(Box<PollActivityTaskQueueResponse>),
    RespondWorkflowTaskCompleted(Box<RespondWorkflowTaskCompletedResponse>),
    RespondActivityTaskCompleted(Box<ActivityCompleted>),
    RecordActivityTaskHeartbeat(Box<RecordActivityTaskHeartbeatResponse>),
    UpdateActivityOptions(Box<UpdateActivityOptionsResponse>),
    CreateSchedule(Box<CreateScheduleResponse>),
    DescribeSchedule(Box<DescribeScheduleResponse>),
    ListScheduleMatchingTimes(Box<ListScheduleMatchingTimesResponse>),
}

/// What the owner answers.
pub type Answer = Result<Response, Rejection>;

/// A signal, from a client or from another workflow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignalWorkflow {
    #[serde(skip_serializing_if = "is_default")]
    pub request: SignalWorkflowExecutionRequest,
    /// Set when a workflow sends it.
    #[serde(skip_serializing_if = "is_default")]
    pub sender: Option<ExternalSender>,
}

/// A cancel request, from a client, from another workflow or by a parent close policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestCancelWorkflow {
    #[serde(skip_serializing_if = "is_default")]
    pub request: RequestCancelWorkflowExecutionRequest,
    #[serde(skip_serializing_if = "is_default")]
    pub sender: Option<ExternalSender>,
}

/// A termination, from a client or by a parent close policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TerminateWorkflow {
    #[serde(skip_serializing_if = "is_default")]
    pub request: TerminateWorkflowExecutionRequest,
    #[serde(skip_serializing_if = "is_default")]
    pub sender: Option<ExternalSender>,
}

/// The workflow that sends a signal, a cancel request or a termination.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalSender {
    #[serde(skip_serializing_if = "is_default")]
    pub namespace_id: NamespaceId,
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    pub workflow_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub run_id: String,
    /// The runs that resets of the sender began from.
    #[serde(skip_serializing_if = "is_default")]
    pub former_run_ids: Vec<String>,
    /// The event by which the sender asked for it; 0 for a parent close policy.
    #[serde(skip_serializing_if = "is_default")]
    pub initiated_event_id: i64,
    /// Only a child of the sender may be addressed.
    #[serde(skip_serializing_if = "is_default")]
    pub child_workflow_only: bool,
}

/// Starts a child. `start` is complete (namespace, ids, policies, time-outs, request id); the rest tells of its parent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartChildWorkflow {
    #[serde(skip_serializing_if = "is_default")]
    pub start: StartWorkflowExecutionRequest,
    #[serde(skip_serializing_if = "is_default")]
    pub parent: ExternalSender,
    #[serde(skip_serializing_if = "is_default")]
    pub parent_close_policy: crate::enums::ParentClosePolicy,
    #[serde(skip_serializing_if = "is_default")]
    pub root_workflow_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub root_run_id: String,
    /// How long the parent's run still lasts bounds nothing; kept for the child's `workflow_execution_expiration_time`.
    #[serde(skip_serializing_if = "is_default")]
    pub first_workflow_task_backoff: Option<std::time::Duration>,
}

/// Tells a parent that its child's chain of runs has closed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildWorkflowClosed {
    /// The parent's run; the chain of runs is not followed.
    #[serde(skip_serializing_if = "is_default")]
    pub parent_run_id: String,
    /// The parent's StartChildWorkflowExecutionInitiated event.
    #[serde(skip_serializing_if = "is_default")]
    pub initiated_event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub child_workflow_id: String,
    /// The run that closed, the last of the chain.
    #[serde(skip_serializing_if = "is_default")]
    pub child_run_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub child_workflow_type: String,
    /// The closing event of the child.
    #[serde(skip_serializing_if = "is_default")]
    pub close_event: HistoryEvent,
}

/// A workflow task, activity task or query task that is ready: a small message on the queue's subject.
///
/// It is a hint: the owner's answer to the claim decides. `attempt` and `stamp` tell a stale one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskReference {
    #[serde(skip_serializing_if = "is_default")]
    pub namespace_id: NamespaceId,
    #[serde(skip_serializing_if = "is_default")]
    pub workflow_id: WorkflowId,
    #[serde(skip_serializing_if = "is_default")]
    pub run_id: String,
    /// The scheduled event (of a transient workflow task, the id it would take); 0 for a query task.
    #[serde(skip_serializing_if = "is_default")]
    pub scheduled_event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub attempt: i32,
    /// Tells tasks apart that have the same ids one after the other: workflow tasks that were made for an update alone, and
    /// activity tasks that an operator put on their queue anew. 0 for all others.
    #[serde(skip_serializing_if = "is_default")]
    pub stamp: u32,
    /// Set for a direct query task.
    #[serde(skip_serializing_if = "is_default")]
    pub query_id: Option<String>,
}

/// Takes the task that a reference names, for one poller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClaimTask {
    #[serde(skip_serializing_if = "is_default")]
    pub task: TaskReference,
    /// The queue the poller polled: the sticky one decides how much history it gets.
    #[serde(skip_serializing_if = "is_default")]
    pub task_queue: TaskQueue,
    #[serde(skip_serializing_if = "is_default")]
    pub identity: String,
    /// Chosen by the poller, a UUID: the same claim twice gives the same task again. Shown as `request_id` in Started events.
    #[serde(skip_serializing_if = "is_default")]
    pub claim_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub worker_version: Option<crate::common::WorkerVersionCapabilities>,
    /// [`crate::hello::PROTOCOL_VERSION`] of the poller; 0 if it does not say.
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: u16,
    /// The key under which the worker announces itself in [`crate::subjects::WORKERS_BUCKET`]: what it holds is given to
    /// others when the key expires. Empty of one that does not announce itself: only time-outs tell of its end.
    #[serde(skip_serializing_if = "is_default")]
    pub worker_id: String,
}

/// Completes an activity; a worker that also hosts the workflow may take the workflow task that follows with the answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompleteActivity {
    #[serde(skip_serializing_if = "is_default")]
    pub request: RespondActivityTaskCompletedRequest,
    /// The caller's sticky queue: if the run is sticky to it and the completion schedules a workflow task, that task is
    /// started for the caller and returned.
    #[serde(skip_serializing_if = "is_default")]
    pub sticky_queue: Option<String>,
}

/// Of a completion that brings nothing along.
impl From<RespondActivityTaskCompletedRequest> for CompleteActivity {
    fn from(request: RespondActivityTaskCompletedRequest) -> Self {
        Self {
            request,
            sticky_queue: None,
        }
    }
}

/// The end of the worker that took an activity says nothing about the activity any more: only time-outs do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DetachActivity {
    #[serde(skip_serializing_if = "is_default")]
    pub task_token: bytes::Bytes,
}

/// The answer to [`CompleteActivity`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityCompleted {
    #[serde(skip_serializing_if = "is_default")]
    pub workflow_task: Option<Box<PollWorkflowTaskQueueResponse>>,
}

/// A query that waits for a worker's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PendingQuery {
    pub query_id: String,
    pub query: WorkflowQuery,
}

/// What a task token holds, MessagePack inside the opaque bytes that a worker sends back.
///
/// A workflow task's token names the scheduled and started event and the attempt; an activity's the scheduled event and
/// the attempt; a query's the query id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskToken {
    #[serde(skip_serializing_if = "is_default")]
    pub namespace_id: NamespaceId,
    #[serde(skip_serializing_if = "is_default")]
    pub workflow_id: WorkflowId,
    #[serde(skip_serializing_if = "is_default")]
    pub run_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub scheduled_event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub started_event_id: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub attempt: i32,
    #[serde(skip_serializing_if = "is_default")]
    pub activity_id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub query_id: String,
    /// When the task was started; tells two starts with equal ids apart (a transient task after buffered events).
    #[serde(skip_serializing_if = "is_default")]
    pub started_time: Option<Timestamp>,
}

/// Why a request was refused, in words for its author.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    pub kind: RejectionKind,
    pub message: String,
    pub detail: Option<Box<ErrorDetail>>,
}

/// The sorts of refusal: the caller's mistake, a state that does not allow it, or the wrong moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectionKind {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    PermissionDenied,
    ResourceExhausted,
    Aborted,
    Unimplemented,
    /// Not now: the partition moves or the broker is away. The caller repeats.
    Unavailable,
    /// This replica does not own the partition. The caller repeats; never shown to users.
    NotOwner,
    DeadlineExceeded,
    Canceled,
    /// A record is damaged; this workflow has stopped.
    Corrupt,
    Internal,
    /// The sender speaks another version of the protocol: see [`crate::hello::PROTOCOL_VERSION`].
    ProtocolMismatch,
}

/// The typed details of a refusal: messages of Temporal's errordetails package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)]
pub enum ErrorDetail {
    WorkflowExecutionAlreadyStarted(WorkflowExecutionAlreadyStartedFailure),
    NotFound(NotFoundFailure),
    NamespaceNotFound(NamespaceNotFoundFailure),
    NamespaceInvalidState(NamespaceInvalidStateFailure),
    NamespaceAlreadyExists(NamespaceAlreadyExistsFailure),
    QueryFailed(QueryFailedFailure),
    WorkflowNotReady(WorkflowNotReadyFailure),
    ResourceExhausted(ResourceExhaustedFailure),
    CancellationAlreadyRequested(CancellationAlreadyRequestedFailure),
    MultiOperationExecution(MultiOperationExecutionFailure),
    PermissionDenied(PermissionDeniedFailure),
    SystemWorkflow(SystemWorkflowFailure),
}

impl RejectionKind {
    /// The number that gRPC has for this sort of refusal (`google.rpc.Code`).
    pub const fn grpc_code(self) -> i32 {
        match self {
            Self::Canceled => 1,
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::PermissionDenied => 7,
            Self::ResourceExhausted => 8,
            // A worker of another protocol version is refused for good.
            Self::FailedPrecondition | Self::ProtocolMismatch => 9,
            Self::Aborted => 10,
            Self::Unimplemented => 12,
            // SDKs repeat INTERNAL and DATA_LOSS alike; the message says that it is of no use.
            Self::Internal => 13,
            // A partition that moves is not the caller's business: to it the server is busy for a moment.
            Self::Unavailable | Self::NotOwner => 14,
            Self::Corrupt => 15,
        }
    }
}

impl Rejection {
    pub fn new(kind: RejectionKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
        }
    }

    pub fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(RejectionKind::InvalidArgument, message)
    }

    /// NOT_FOUND with the typed detail that SDKs look for.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(RejectionKind::NotFound, message)
            .with(ErrorDetail::NotFound(NotFoundFailure::default()))
    }

    pub fn with(mut self, detail: ErrorDetail) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }
}
