//! What clients do with workflows: start, signal, cancel, terminate, reset, delete, describe.

use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::{Request, RequestCancelWorkflow, SignalWorkflow, TerminateWorkflow};
use fermata_proto::service as own;

use super::caller::Caller;
use super::{Handled, Service, checks, respond, respond_done, start_checks, taken};

/// Who terminates a workflow without saying so, as history shows it.
const ANONYMOUS: &str = "frontend-service";

impl Service {
    pub(crate) async fn start_workflow_execution(
        &self,
        caller: &Caller,
        mut request: rr::StartWorkflowExecutionRequest,
    ) -> Handled<rr::StartWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        checks::takes_workflows(&namespace)?;
        start_checks::start(&mut request)?;
        let request: own::StartWorkflowExecutionRequest = taken(request)?;
        let workflow_id = request.workflow_id.clone();
        let request = Request::StartWorkflowExecution(Box::new(request));
        respond!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            StartWorkflowExecution
        )
    }

    pub(crate) async fn signal_with_start_workflow_execution(
        &self,
        caller: &Caller,
        mut request: rr::SignalWithStartWorkflowExecutionRequest,
    ) -> Handled<rr::SignalWithStartWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        checks::takes_workflows(&namespace)?;
        start_checks::signal_with_start(&mut request)?;
        let request: own::SignalWithStartWorkflowExecutionRequest = taken(request)?;
        let workflow_id = request.workflow_id.clone();
        let request = Request::SignalWithStartWorkflowExecution(Box::new(request));
        respond!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            SignalWithStartWorkflowExecution
        )
    }

    pub(crate) async fn signal_workflow_execution(
        &self,
        caller: &Caller,
        request: rr::SignalWorkflowExecutionRequest,
    ) -> Handled<rr::SignalWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.workflow_execution.as_ref())?
            .workflow_id
            .clone();
        // Without a request id each signal counts: none is made up here, since history would show it.
        checks::limited(&request.request_id, "RequestId")?;
        checks::links(&request.links)?;
        let signal = SignalWorkflow {
            request: taken(request)?,
            sender: None,
        };
        let request = Request::SignalWorkflowExecution(Box::new(signal));
        respond!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            SignalWorkflowExecution
        )
    }

    pub(crate) async fn request_cancel_workflow_execution(
        &self,
        caller: &Caller,
        mut request: rr::RequestCancelWorkflowExecutionRequest,
    ) -> Handled<rr::RequestCancelWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.workflow_execution.as_ref())?
            .workflow_id
            .clone();
        checks::run_id(&request.first_execution_run_id)?;
        checks::request_id(&mut request.request_id)?;
        checks::links(&request.links)?;
        let cancel = RequestCancelWorkflow {
            request: taken(request)?,
            sender: None,
        };
        let request = Request::RequestCancelWorkflowExecution(Box::new(cancel));
        respond_done!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            rr::RequestCancelWorkflowExecutionResponse {}
        )
    }

    pub(crate) async fn terminate_workflow_execution(
        &self,
        caller: &Caller,
        mut request: rr::TerminateWorkflowExecutionRequest,
    ) -> Handled<rr::TerminateWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.workflow_execution.as_ref())?
            .workflow_id
            .clone();
        checks::run_id(&request.first_execution_run_id)?;
        checks::links(&request.links)?;
        checks::blob(request.details.as_ref())?;
        if request.identity.is_empty() {
            ANONYMOUS.clone_into(&mut request.identity);
        }
        let terminate = TerminateWorkflow {
            request: taken(request)?,
            sender: None,
        };
        let request = Request::TerminateWorkflowExecution(Box::new(terminate));
        respond_done!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            rr::TerminateWorkflowExecutionResponse {}
        )
    }

    pub(crate) async fn delete_workflow_execution(
        &self,
        caller: &Caller,
        request: rr::DeleteWorkflowExecutionRequest,
    ) -> Handled<rr::DeleteWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.workflow_execution.as_ref())?
            .workflow_id
            .clone();
        self.delete(caller, &namespace, &workflow_id, taken(request)?)
            .await?;
        Ok(rr::DeleteWorkflowExecutionResponse {})
    }

    pub(crate) async fn reset_workflow_execution(
        &self,
        caller: &Caller,
        request: rr::ResetWorkflowExecutionRequest,
    ) -> Handled<rr::ResetWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.workflow_execution.as_ref())?
            .workflow_id
            .clone();
        checks::limited(&request.request_id, "RequestId")?;
        let request = Request::ResetWorkflowExecution(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            ResetWorkflowExecution
        )
    }

    pub(super) async fn delete(
        &self,
        caller: &Caller,
        namespace: &NamespaceRecord,
        workflow_id: &str,
        request: own::DeleteWorkflowExecutionRequest,
    ) -> Handled<()> {
        let request = Request::DeleteWorkflowExecution(Box::new(request));
        respond_done!(self.ask(caller, namespace, workflow_id, request).await, ())
    }

    pub(crate) async fn describe_workflow_execution(
        &self,
        caller: &Caller,
        request: rr::DescribeWorkflowExecutionRequest,
    ) -> Handled<rr::DescribeWorkflowExecutionResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let request = Request::DescribeWorkflowExecution(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            DescribeWorkflowExecution
        )
    }
}
