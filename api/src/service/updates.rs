//! Updates: sent by clients, alone or together with a start, and asked after.

use std::time::Duration;

use fermata_proto::pb::workflowservice::v1::execute_multi_operation_request::operation::Operation;
use fermata_proto::pb::{update::v1 as update, workflowservice::v1 as rr};
use fermata_proto::rpc::{Rejection, Request};

use super::caller::Caller;
use super::{Handled, Service, checks, respond, start_checks, taken};

/// How long the caller of an update waits, where it sets no deadline: longer than the engine keeps it, which then tells how far the
/// update is.
const UPDATE_WAIT_MAX: Duration = Duration::from_secs(30);

impl Service {
    pub(crate) async fn update_workflow_execution(
        &self,
        caller: &Caller,
        mut request: rr::UpdateWorkflowExecutionRequest,
    ) -> Handled<rr::UpdateWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.workflow_execution.as_ref())?
            .workflow_id
            .clone();
        named(request.request.as_mut());
        let request = Request::UpdateWorkflowExecution(Box::new(taken(request)?));
        let wait = caller.wait(UPDATE_WAIT_MAX);
        respond!(
            self.ask_for(wait, &namespace, &workflow_id, request).await,
            UpdateWorkflowExecution
        )
    }

    pub(crate) async fn poll_workflow_execution_update(
        &self,
        caller: &Caller,
        request: rr::PollWorkflowExecutionUpdateRequest,
    ) -> Handled<rr::PollWorkflowExecutionUpdateResponse> {
        let reference = request
            .update_ref
            .as_ref()
            .ok_or_else(|| Rejection::invalid_argument("UpdateRef is not set on request."))?;
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(reference.workflow_execution.as_ref())?
            .workflow_id
            .clone();
        let request = Request::PollWorkflowExecutionUpdate(Box::new(taken(request)?));
        let wait = caller.wait(UPDATE_WAIT_MAX);
        respond!(
            self.ask_for(wait, &namespace, &workflow_id, request).await,
            PollWorkflowExecutionUpdate
        )
    }

    pub(crate) async fn execute_multi_operation(
        &self,
        caller: &Caller,
        mut request: rr::ExecuteMultiOperationRequest,
    ) -> Handled<rr::ExecuteMultiOperationResponse> {
        let namespace = self.namespace(&request.namespace)?;
        checks::takes_workflows(&namespace)?;
        let mut workflow_id = String::new();
        for operation in &mut request.operations {
            match &mut operation.operation {
                Some(Operation::StartWorkflow(start)) => {
                    start_checks::start(start)
                        .map_err(fermata_proto::multi_operation::start_failed)?;
                    workflow_id.clone_from(&start.workflow_id);
                }
                Some(Operation::UpdateWorkflow(update)) => named(update.request.as_mut()),
                None => {}
            }
        }
        let request = Request::ExecuteMultiOperation(Box::new(taken(request)?));
        let wait = caller.wait(UPDATE_WAIT_MAX);
        respond!(
            self.ask_for(wait, &namespace, &workflow_id, request).await,
            ExecuteMultiOperation
        )
    }
}

/// An update without an id gets one here, so that it is the same one when the request is repeated inside Fermata.
fn named(request: Option<&mut update::Request>) {
    if let Some(meta) = request.and_then(|request| request.meta.as_mut())
        && meta.update_id.is_empty()
    {
        meta.update_id = uuid::Uuid::new_v4().to_string();
    }
}
