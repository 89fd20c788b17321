//! Queries: asked by clients, answered by workers.

use std::time::Duration;

use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::{Rejection, Request};

use super::caller::Caller;
use super::{Handled, Service, checks, respond, respond_done, taken};

/// How long a query waits for a worker, where its caller sets no deadline.
const QUERY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long it waits at most, whatever the caller says.
const QUERY_WAIT_LONGEST: Duration = Duration::from_secs(120);

impl Service {
    pub(crate) async fn query_workflow(
        &self,
        caller: &Caller,
        request: rr::QueryWorkflowRequest,
    ) -> Handled<rr::QueryWorkflowResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let query = request
            .query
            .as_ref()
            .ok_or_else(|| Rejection::invalid_argument("WorkflowQuery is not set on request."))?;
        checks::required(&query.query_type, "QueryType")?;
        checks::blob(query.query_args.as_ref())?;
        let wait = if caller.is_patient() {
            QUERY_WAIT_MAX
        } else {
            caller.wait(QUERY_WAIT_LONGEST)
        };
        let request = Request::QueryWorkflow(Box::new(taken(request)?));
        respond!(
            self.ask_for(wait, &namespace, &workflow_id, request).await,
            QueryWorkflow
        )
    }

    pub(crate) async fn respond_query_task_completed(
        &self,
        caller: &Caller,
        request: rr::RespondQueryTaskCompletedRequest,
    ) -> Handled<rr::RespondQueryTaskCompletedResponse> {
        let (namespace, token) = self.of_token(&request.namespace, &request.task_token)?;
        if token.query_id.is_empty() {
            return Err(checks::foreign_token());
        }
        let request = Request::RespondQueryTaskCompleted(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, &token.workflow_id.0, request)
                .await,
            rr::RespondQueryTaskCompletedResponse {}
        )
    }
}
