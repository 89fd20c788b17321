//! What operators do to pending activities: pause, unpause, reset, other options.

use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::Request;

use super::caller::Caller;
use super::{Handled, Service, checks, respond, respond_done, taken};

impl Service {
    pub(crate) async fn pause_activity(
        &self,
        caller: &Caller,
        request: rr::PauseActivityRequest,
    ) -> Handled<rr::PauseActivityResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let request = Request::PauseActivity(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            rr::PauseActivityResponse {}
        )
    }

    pub(crate) async fn unpause_activity(
        &self,
        caller: &Caller,
        request: rr::UnpauseActivityRequest,
    ) -> Handled<rr::UnpauseActivityResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let request = Request::UnpauseActivity(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            rr::UnpauseActivityResponse {}
        )
    }

    pub(crate) async fn reset_activity(
        &self,
        caller: &Caller,
        request: rr::ResetActivityRequest,
    ) -> Handled<rr::ResetActivityResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let request = Request::ResetActivity(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            rr::ResetActivityResponse {}
        )
    }

    pub(crate) async fn update_activity_options(
        &self,
        caller: &Caller,
        request: rr::UpdateActivityOptionsRequest,
    ) -> Handled<rr::UpdateActivityOptionsResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let request = Request::UpdateActivityOptions(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            UpdateActivityOptions
        )
    }
}
