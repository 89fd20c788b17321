//! The one implementation of Temporal's `WorkflowService` and `OperatorService`: parse, ask the owner, map the answer.
//!
//! | file | calls |
//! |---|---|
//! | [`workflows`] | start, signal, cancel, terminate, reset, delete, describe |
//! | [`history`] | event histories, and the result of a chain of runs |
//! | [`queries`] | queries and their answers |
//! | [`updates`] | updates, alone and with a start |
//! | [`workers`] | polls for tasks, and what workers say about them |
//! | [`activities`] | pending activities: pause, unpause, reset, options |
//! | [`schedules`] | schedules |
//! | [`lists`] | lists and counts, from the read model |
//! | [`namespaces`], [`deletion`], [`attributes`] | namespaces, their end, and their search attributes |
//! | [`queues`] | task queues described |
//! | [`system`] | what this deployment is |
//! | [`setup`] | what a deployment is to have before it serves |
//! | [`pollers`], [`worker_polls`], [`replicas`] | who polls, here and at other replicas |
//!
//! What can be refused without knowing any workflow is refused here ([`checks`], [`start_checks`]); all else is the owner's.
//! Methods that are absent keep the generated default, which answers UNIMPLEMENTED.

// Deprecated fields are carried like all others.
#![allow(deprecated)]

mod activities;
mod attributes;
mod caller;
mod checks;
mod deletion;
mod history;
mod lists;
mod namespaces;
mod pollers;
mod queries;
mod queues;
mod replicas;
mod schedules;
mod setup;
mod start_checks;
mod system;
mod updates;
mod worker_polls;
mod workers;
mod workflows;

use std::sync::Arc;
use std::time::Duration;

use fermata_proto::ids::{NamespaceId, WorkflowId};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::{operatorservice::v1 as op, workflowservice::v1 as rr};
use fermata_proto::rpc::{Answer, Rejection, RejectionKind, Request, Response};
use fermata_proto::wire::Wire;
use fermata_transport::Transport;
use tokio_util::sync::CancellationToken;

pub(crate) use self::caller::Caller;
pub(crate) use self::checks::namespace_not_found;
use self::pollers::Pollers;
use self::worker_polls::WorkerPolls;
use crate::error::{refused_field, status_of};
use crate::stubs::operatorservice::operator_service_server::OperatorService;
use crate::stubs::workflowservice::workflow_service_server::WorkflowService;
use crate::visibility::Visibility;

pub use self::history::{Outcome, Wanted};
pub use self::setup::{Setup, SetupError};

/// How long a call that does not wait may take.
const CALL_WAIT_MAX: Duration = Duration::from_secs(10);
/// Setting up a compressor costs more than a smaller response saves on any network.
const COMPRESSED_BYTES_MIN: usize = 8 << 10;

/// The services. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Service {
    transport: Transport,
    visibility: Visibility,
    pollers: Arc<Pollers>,
    sizes: SizeLimits,
    worker_polls: Arc<WorkerPolls>,
    /// Ends what goes on in the background.
    stop: CancellationToken,
}

/// Limits that clients are told of, so that they refuse what is too large before they send it. The engine enforces its own.
#[derive(Debug, Clone, Copy)]
pub struct SizeLimits {
    pub blob_bytes_max: usize,
    pub memo_bytes_max: usize,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self {
            blob_bytes_max: checks::BLOB_BYTES_MAX,
            memo_bytes_max: checks::BLOB_BYTES_MAX,
        }
    }
}

/// What a handler gives.
type Handled<T> = Result<T, Rejection>;

impl Service {
    /// `stop` ends what the services do in the background.
    pub fn new(transport: Transport, visibility: Visibility, stop: CancellationToken) -> Self {
        Self {
            transport,
            visibility,
            pollers: Arc::default(),
            sizes: SizeLimits::default(),
            worker_polls: Arc::default(),
            stop,
        }
    }

    /// Tells clients other limits than the default ones.
    #[must_use]
    pub fn telling(mut self, sizes: SizeLimits) -> Self {
        self.sizes = sizes;
        self
    }

    /// Asks the owner of a workflow id something that is answered at once.
    async fn ask(
        &self,
        caller: &Caller,
        namespace: &NamespaceRecord,
        workflow_id: &str,
        request: Request,
    ) -> Answer {
        let wait = caller.wait(CALL_WAIT_MAX);
        self.ask_for(wait, namespace, workflow_id, request).await
    }

    /// As [`Self::ask`], of a request that may wait for `wait`.
    async fn ask_for(
        &self,
        wait: Duration,
        namespace: &NamespaceRecord,
        workflow_id: &str,
        request: Request,
    ) -> Answer {
        let workflow_id = WorkflowId::from(workflow_id);
        self.transport
            .call(&namespace.id, &workflow_id, wait, request)
            .await
    }

    /// The namespace of a request.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if none is named, NOT_FOUND if there is none of that name.
    fn namespace(&self, name: &str) -> Handled<Arc<NamespaceRecord>> {
        if name.is_empty() {
            return Err(Rejection::invalid_argument("Namespace is empty."));
        }
        self.transport
            .namespaces()
            .by_name(name)
            .ok_or_else(|| checks::namespace_not_found(name))
    }

    fn namespace_by_id(&self, id: &NamespaceId) -> Handled<Arc<NamespaceRecord>> {
        self.transport
            .namespaces()
            .by_id(id)
            .ok_or_else(|| checks::namespace_not_found(&id.0))
    }
}

/// A queue's name by itself.
///
/// # Errors
/// INVALID_ARGUMENT if it is too long.
pub(crate) fn check_task_queue(name: &str) -> Handled<()> {
    checks::limited(name, "TaskQueue")
}

/// The request in our types.
fn taken<P, T: Wire<P>>(wire: P) -> Handled<T> {
    T::from_wire(wire).map_err(|error| refused_field(&error))
}

/// An owner answered with what does not belong to the request.
fn unexpected(response: &Response) -> Rejection {
    let text = format!("{response:?}");
    let name = text.split(['(', ' ']).next().unwrap_or_default();
    Rejection::new(
        RejectionKind::Internal,
        format!("the engine answered with {name}, which nobody asked for"),
    )
}

/// The protobuf form of the one variant that answers a request.
macro_rules! respond {
    ($answer:expr, $variant:ident) => {
        match $answer? {
            fermata_proto::rpc::Response::$variant(response) => {
                Ok(fermata_proto::wire::Wire::into_wire(*response))
            }
            other => Err($crate::service::unexpected(&other)),
        }
    };
}

/// As [`respond!`], where Temporal's response is empty.
macro_rules! respond_done {
    ($answer:expr, $response:expr) => {
        match $answer? {
            fermata_proto::rpc::Response::Done => Ok($response),
            other => Err($crate::service::unexpected(&other)),
        }
    };
}

use {respond, respond_done};

/// The response, to be compressed only if that pays.
fn answer<M: prost::Message>(message: M) -> tonic::Response<M> {
    let is_small = message.encoded_len() < COMPRESSED_BYTES_MIN;
    let mut response = tonic::Response::new(message);
    if is_small {
        response.disable_compression();
    }
    response
}

/// Implements a generated service by the methods of the same names.
macro_rules! serve {
    ($service:ident, $messages:ident { $($method:ident($request:ident) -> $response:ident;)* }) => {
        #[tonic::async_trait]
        impl $service for Service {
            $(async fn $method(
                &self,
                request: tonic::Request<$messages::$request>,
            ) -> Result<tonic::Response<$messages::$response>, tonic::Status> {
                let caller = Caller::of(request.metadata());
                // The method of `Service` itself: inherent ones come before those of traits.
                Service::$method(self, &caller, request.into_inner())
                    .await
                    .map(answer)
                    .map_err(status_of)
            })*
        }
    };
}

serve!(WorkflowService, rr {
    register_namespace(RegisterNamespaceRequest) -> RegisterNamespaceResponse;
    describe_namespace(DescribeNamespaceRequest) -> DescribeNamespaceResponse;
    list_namespaces(ListNamespacesRequest) -> ListNamespacesResponse;
    update_namespace(UpdateNamespaceRequest) -> UpdateNamespaceResponse;
    deprecate_namespace(DeprecateNamespaceRequest) -> DeprecateNamespaceResponse;

    start_workflow_execution(StartWorkflowExecutionRequest) -> StartWorkflowExecutionResponse;
    signal_workflow_execution(SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse;
    signal_with_start_workflow_execution(SignalWithStartWorkflowExecutionRequest) -> SignalWithStartWorkflowExecutionResponse;
    request_cancel_workflow_execution(RequestCancelWorkflowExecutionRequest) -> RequestCancelWorkflowExecutionResponse;
    terminate_workflow_execution(TerminateWorkflowExecutionRequest) -> TerminateWorkflowExecutionResponse;
    reset_workflow_execution(ResetWorkflowExecutionRequest) -> ResetWorkflowExecutionResponse;
    delete_workflow_execution(DeleteWorkflowExecutionRequest) -> DeleteWorkflowExecutionResponse;
    describe_workflow_execution(DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse;

    get_workflow_execution_history(GetWorkflowExecutionHistoryRequest) -> GetWorkflowExecutionHistoryResponse;
    get_workflow_execution_history_reverse(GetWorkflowExecutionHistoryReverseRequest) -> GetWorkflowExecutionHistoryReverseResponse;

    query_workflow(QueryWorkflowRequest) -> QueryWorkflowResponse;
    respond_query_task_completed(RespondQueryTaskCompletedRequest) -> RespondQueryTaskCompletedResponse;

    update_workflow_execution(UpdateWorkflowExecutionRequest) -> UpdateWorkflowExecutionResponse;
    poll_workflow_execution_update(PollWorkflowExecutionUpdateRequest) -> PollWorkflowExecutionUpdateResponse;
    execute_multi_operation(ExecuteMultiOperationRequest) -> ExecuteMultiOperationResponse;

    poll_workflow_task_queue(PollWorkflowTaskQueueRequest) -> PollWorkflowTaskQueueResponse;
    respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse;
    respond_workflow_task_failed(RespondWorkflowTaskFailedRequest) -> RespondWorkflowTaskFailedResponse;
    reset_sticky_task_queue(ResetStickyTaskQueueRequest) -> ResetStickyTaskQueueResponse;
    shutdown_worker(ShutdownWorkerRequest) -> ShutdownWorkerResponse;
    poll_activity_task_queue(PollActivityTaskQueueRequest) -> PollActivityTaskQueueResponse;
    poll_nexus_task_queue(PollNexusTaskQueueRequest) -> PollNexusTaskQueueResponse;
    respond_activity_task_completed(RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse;
    respond_activity_task_completed_by_id(RespondActivityTaskCompletedByIdRequest) -> RespondActivityTaskCompletedByIdResponse;
    respond_activity_task_failed(RespondActivityTaskFailedRequest) -> RespondActivityTaskFailedResponse;
    respond_activity_task_failed_by_id(RespondActivityTaskFailedByIdRequest) -> RespondActivityTaskFailedByIdResponse;
    respond_activity_task_canceled(RespondActivityTaskCanceledRequest) -> RespondActivityTaskCanceledResponse;
    respond_activity_task_canceled_by_id(RespondActivityTaskCanceledByIdRequest) -> RespondActivityTaskCanceledByIdResponse;
    record_activity_task_heartbeat(RecordActivityTaskHeartbeatRequest) -> RecordActivityTaskHeartbeatResponse;
    record_activity_task_heartbeat_by_id(RecordActivityTaskHeartbeatByIdRequest) -> RecordActivityTaskHeartbeatByIdResponse;

    list_workflow_executions(ListWorkflowExecutionsRequest) -> ListWorkflowExecutionsResponse;
    list_open_workflow_executions(ListOpenWorkflowExecutionsRequest) -> ListOpenWorkflowExecutionsResponse;
    list_closed_workflow_executions(ListClosedWorkflowExecutionsRequest) -> ListClosedWorkflowExecutionsResponse;
    scan_workflow_executions(ScanWorkflowExecutionsRequest) -> ScanWorkflowExecutionsResponse;
    count_workflow_executions(CountWorkflowExecutionsRequest) -> CountWorkflowExecutionsResponse;
    get_search_attributes(GetSearchAttributesRequest) -> GetSearchAttributesResponse;

    pause_activity(PauseActivityRequest) -> PauseActivityResponse;
    unpause_activity(UnpauseActivityRequest) -> UnpauseActivityResponse;
    reset_activity(ResetActivityRequest) -> ResetActivityResponse;
    update_activity_options(UpdateActivityOptionsRequest) -> UpdateActivityOptionsResponse;

    create_schedule(CreateScheduleRequest) -> CreateScheduleResponse;
    describe_schedule(DescribeScheduleRequest) -> DescribeScheduleResponse;
    update_schedule(UpdateScheduleRequest) -> UpdateScheduleResponse;
    patch_schedule(PatchScheduleRequest) -> PatchScheduleResponse;
    delete_schedule(DeleteScheduleRequest) -> DeleteScheduleResponse;
    list_schedule_matching_times(ListScheduleMatchingTimesRequest) -> ListScheduleMatchingTimesResponse;
    list_schedules(ListSchedulesRequest) -> ListSchedulesResponse;
    count_schedules(CountSchedulesRequest) -> CountSchedulesResponse;

    describe_task_queue(DescribeTaskQueueRequest) -> DescribeTaskQueueResponse;
    list_task_queue_partitions(ListTaskQueuePartitionsRequest) -> ListTaskQueuePartitionsResponse;
    get_cluster_info(GetClusterInfoRequest) -> GetClusterInfoResponse;
    get_system_info(GetSystemInfoRequest) -> GetSystemInfoResponse;
});

serve!(OperatorService, op {
    add_search_attributes(AddSearchAttributesRequest) -> AddSearchAttributesResponse;
    remove_search_attributes(RemoveSearchAttributesRequest) -> RemoveSearchAttributesResponse;
    list_search_attributes(ListSearchAttributesRequest) -> ListSearchAttributesResponse;
    delete_namespace(DeleteNamespaceRequest) -> DeleteNamespaceResponse;
    list_clusters(ListClustersRequest) -> ListClustersResponse;
});
