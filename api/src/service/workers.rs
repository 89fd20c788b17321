//! What workers do: poll for tasks, and say what became of them.

use std::sync::Arc;

use fermata_proto::enums::TaskQueueKind;
use fermata_proto::failure::{ApplicationFailureInfo, Failure, FailureFailureInfo};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::taskqueue::v1 as taskqueue;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::{Answer, CompleteActivity, Rejection, Request, Response, TaskToken};
use fermata_proto::service as own;
use fermata_proto::subjects::TaskKind;
use fermata_proto::time::Timestamp;
use fermata_transport::{Claimant, TaskPoller};
use tokio::time::Instant;

use super::caller::Caller;
use super::replicas::WorkerShutDown;
use super::{Handled, Service, checks, respond, respond_done, taken, unexpected};

impl Service {
    // ---- polls ----

    pub(crate) async fn poll_workflow_task_queue(
        &self,
        caller: &Caller,
        request: rr::PollWorkflowTaskQueueRequest,
    ) -> Handled<rr::PollWorkflowTaskQueueResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let until = caller.poll_until()?;
        checks::limited(&request.identity, "Identity")?;
        let name = checks::task_queue(request.task_queue.as_ref())?.to_owned();
        let normal_name = request
            .task_queue
            .filter(|queue| queue.kind == TaskQueueKind::Sticky as i32)
            .map(|queue| queue.normal_name);
        self.pollers.saw(
            &namespace.id,
            TaskKind::Workflow,
            &name,
            now(),
            taskqueue::PollerInfo {
                identity: request.identity.clone(),
                worker_version_capabilities: request.worker_version_capabilities.clone(),
                deployment_options: request.deployment_options,
                ..Default::default()
            },
        );
        let poller = match normal_name {
            Some(normal) => self.transport.sticky_queue(&namespace.id, &name, &normal),
            None => self.transport.workflow_queue(&namespace.id, &name),
        };
        let claimant = Claimant {
            identity: request.identity,
            worker_version: taken(request.worker_version_capabilities)?,
            // Temporal's workers do not announce themselves: time-outs tell of their end.
            worker_id: String::new(),
        };
        let key = &request.worker_instance_key;
        match self.poll(&poller, &claimant, until, key).await {
            Some(task) => respond!(Ok::<_, Rejection>(task), WorkflowTask),
            None => Ok(rr::PollWorkflowTaskQueueResponse::default()),
        }
    }

    pub(crate) async fn poll_activity_task_queue(
        &self,
        caller: &Caller,
        request: rr::PollActivityTaskQueueRequest,
    ) -> Handled<rr::PollActivityTaskQueueResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let until = caller.poll_until()?;
        checks::limited(&request.identity, "Identity")?;
        let name = checks::task_queue(request.task_queue.as_ref())?.to_owned();
        self.pollers.saw(
            &namespace.id,
            TaskKind::Activity,
            &name,
            now(),
            taskqueue::PollerInfo {
                identity: request.identity.clone(),
                worker_version_capabilities: request.worker_version_capabilities.clone(),
                deployment_options: request.deployment_options,
                ..Default::default()
            },
        );
        let claimant = Claimant {
            identity: request.identity,
            worker_version: taken(request.worker_version_capabilities)?,
            // Temporal's workers do not announce themselves: time-outs tell of their end.
            worker_id: String::new(),
        };
        let poller = self.transport.activity_queue(&namespace.id, &name);
        let key = &request.worker_instance_key;
        match self.poll(&poller, &claimant, until, key).await {
            Some(task) => respond!(Ok::<_, Rejection>(task), ActivityTask),
            None => Ok(rr::PollActivityTaskQueueResponse::default()),
        }
    }

    /// There are no Nexus tasks: nothing calls an operation. A worker that offers some waits for calls like any other, until
    /// its time is over.
    pub(crate) async fn poll_nexus_task_queue(
        &self,
        caller: &Caller,
        request: rr::PollNexusTaskQueueRequest,
    ) -> Handled<rr::PollNexusTaskQueueResponse> {
        self.namespace(&request.namespace)?;
        let until = caller.poll_until()?;
        checks::limited(&request.identity, "Identity")?;
        checks::task_queue(request.task_queue.as_ref())?;
        if let Some(of_worker) = self.worker_polls.begin(&request.worker_instance_key) {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = of_worker.ended() => {}
                () = self.stop.cancelled() => {}
            }
        }
        Ok(rr::PollNexusTaskQueueResponse::default())
    }

    /// A task; nothing if none came in time, the worker shuts down, or this replica stops. A dropped handler drops the poll,
    /// which gives its task back.
    async fn poll(
        &self,
        poller: &TaskPoller,
        claimant: &Claimant,
        until: Instant,
        worker_instance_key: &str,
    ) -> Option<Response> {
        let of_worker = self.worker_polls.begin(worker_instance_key)?;
        let ended = async {
            tokio::select! {
                () = of_worker.ended() => {}
                () = self.stop.cancelled() => {}
            }
        };
        poller.poll_unless(claimant, until, ended).await
    }

    // ---- workflow tasks ----

    pub(crate) async fn respond_workflow_task_completed(
        &self,
        caller: &Caller,
        request: rr::RespondWorkflowTaskCompletedRequest,
    ) -> Handled<rr::RespondWorkflowTaskCompletedResponse> {
        let (namespace, token) = self.of_token(&request.namespace, &request.task_token)?;
        let request = Request::RespondWorkflowTaskCompleted(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, &token.workflow_id.0, request)
                .await,
            RespondWorkflowTaskCompleted
        )
    }

    pub(crate) async fn respond_workflow_task_failed(
        &self,
        caller: &Caller,
        request: rr::RespondWorkflowTaskFailedRequest,
    ) -> Handled<rr::RespondWorkflowTaskFailedResponse> {
        let (namespace, token) = self.of_token(&request.namespace, &request.task_token)?;
        let mut request: own::RespondWorkflowTaskFailedRequest = taken(request)?;
        shorten(
            &mut request.failure,
            "Workflow task failure exceeds size limit.",
        );
        let request = Request::RespondWorkflowTaskFailed(Box::new(request));
        respond_done!(
            self.ask(caller, &namespace, &token.workflow_id.0, request)
                .await,
            rr::RespondWorkflowTaskFailedResponse {}
        )
    }

    pub(crate) async fn reset_sticky_task_queue(
        &self,
        caller: &Caller,
        request: rr::ResetStickyTaskQueueRequest,
    ) -> Handled<rr::ResetStickyTaskQueueResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = checks::execution(request.execution.as_ref())?
            .workflow_id
            .clone();
        let request = Request::ResetStickyTaskQueue(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            rr::ResetStickyTaskQueueResponse {}
        )
    }

    /// Ends the worker's polls at all replicas, and listening on its sticky queue: its runs then fall back to their normal
    /// queues at once.
    pub(crate) async fn shutdown_worker(
        &self,
        _: &Caller,
        request: rr::ShutdownWorkerRequest,
    ) -> Handled<rr::ShutdownWorkerResponse> {
        let namespace = self.namespace(&request.namespace)?;
        self.shut_worker_down(WorkerShutDown {
            namespace_id: namespace.id.clone(),
            worker_instance_key: request.worker_instance_key,
            sticky_queue: request.sticky_task_queue,
            normal_queue: request.task_queue,
        })
        .await;
        Ok(rr::ShutdownWorkerResponse::default())
    }

    // ---- activity tasks ----

    pub(crate) async fn respond_activity_task_completed(
        &self,
        caller: &Caller,
        request: rr::RespondActivityTaskCompletedRequest,
    ) -> Handled<rr::RespondActivityTaskCompletedResponse> {
        let (namespace, token) = self.of_token(&request.namespace, &request.task_token)?;
        if checks::blob(request.result.as_ref()).is_err() {
            let answer = rr::RespondActivityTaskCompletedResponse {};
            let failure = too_large("Complete result exceeds size limit.");
            return self
                .fail_instead(
                    caller,
                    &namespace,
                    &token,
                    request.task_token,
                    request.identity,
                    failure,
                )
                .await
                .map(|()| answer);
        }
        let complete = CompleteActivity {
            request: taken(request)?,
            sticky_queue: None,
        };
        let request = Request::RespondActivityTaskCompleted(Box::new(complete));
        let answer = self
            .ask(caller, &namespace, &token.workflow_id.0, request)
            .await;
        completed(answer)?;
        Ok(rr::RespondActivityTaskCompletedResponse {})
    }

    pub(crate) async fn respond_activity_task_failed(
        &self,
        caller: &Caller,
        request: rr::RespondActivityTaskFailedRequest,
    ) -> Handled<rr::RespondActivityTaskFailedResponse> {
        let (namespace, token) = self.of_token(&request.namespace, &request.task_token)?;
        let mut request: own::RespondActivityTaskFailedRequest = taken(request)?;
        shorten(&mut request.failure, "Activity failure exceeds size limit.");
        let request = Request::RespondActivityTaskFailed(Box::new(request));
        respond_done!(
            self.ask(caller, &namespace, &token.workflow_id.0, request)
                .await,
            rr::RespondActivityTaskFailedResponse::default()
        )
    }

    pub(crate) async fn respond_activity_task_canceled(
        &self,
        caller: &Caller,
        request: rr::RespondActivityTaskCanceledRequest,
    ) -> Handled<rr::RespondActivityTaskCanceledResponse> {
        let (namespace, token) = self.of_token(&request.namespace, &request.task_token)?;
        if checks::blob(request.details.as_ref()).is_err() {
            let failure = too_large("Cancel details exceed size limit.");
            return self
                .fail_instead(
                    caller,
                    &namespace,
                    &token,
                    request.task_token,
                    request.identity,
                    failure,
                )
                .await
                .map(|()| rr::RespondActivityTaskCanceledResponse {});
        }
        let request = Request::RespondActivityTaskCanceled(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, &token.workflow_id.0, request)
                .await,
            rr::RespondActivityTaskCanceledResponse {}
        )
    }

    pub(crate) async fn record_activity_task_heartbeat(
        &self,
        caller: &Caller,
        request: rr::RecordActivityTaskHeartbeatRequest,
    ) -> Handled<rr::RecordActivityTaskHeartbeatResponse> {
        let (namespace, token) = self.of_token(&request.namespace, &request.task_token)?;
        if checks::blob(request.details.as_ref()).is_err() {
            let failure = too_large("Heartbeat details exceed size limit.");
            self.fail_instead(
                caller,
                &namespace,
                &token,
                request.task_token,
                request.identity,
                failure,
            )
            .await?;
            // The worker shall stop: the activity has failed.
            return Ok(rr::RecordActivityTaskHeartbeatResponse {
                cancel_requested: true,
                ..Default::default()
            });
        }
        let request = Request::RecordActivityTaskHeartbeat(Box::new(taken(request)?));
        respond!(
            self.ask(caller, &namespace, &token.workflow_id.0, request)
                .await,
            RecordActivityTaskHeartbeat
        )
    }

    // ---- the same by id ----

    pub(crate) async fn respond_activity_task_completed_by_id(
        &self,
        caller: &Caller,
        request: rr::RespondActivityTaskCompletedByIdRequest,
    ) -> Handled<rr::RespondActivityTaskCompletedByIdResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = by_id(&request.workflow_id, &request.run_id, &request.activity_id)?;
        checks::blob(request.result.as_ref())?;
        let request = Request::RespondActivityTaskCompletedById(Box::new(taken(request)?));
        completed(self.ask(caller, &namespace, &workflow_id, request).await)?;
        Ok(rr::RespondActivityTaskCompletedByIdResponse {})
    }

    pub(crate) async fn respond_activity_task_failed_by_id(
        &self,
        caller: &Caller,
        request: rr::RespondActivityTaskFailedByIdRequest,
    ) -> Handled<rr::RespondActivityTaskFailedByIdResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = by_id(&request.workflow_id, &request.run_id, &request.activity_id)?;
        let mut request: own::RespondActivityTaskFailedByIdRequest = taken(request)?;
        shorten(&mut request.failure, "Activity failure exceeds size limit.");
        let request = Request::RespondActivityTaskFailedById(Box::new(request));
        respond_done!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            rr::RespondActivityTaskFailedByIdResponse::default()
        )
    }

    pub(crate) async fn respond_activity_task_canceled_by_id(
        &self,
        caller: &Caller,
        request: rr::RespondActivityTaskCanceledByIdRequest,
    ) -> Handled<rr::RespondActivityTaskCanceledByIdResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = by_id(&request.workflow_id, &request.run_id, &request.activity_id)?;
        checks::blob(request.details.as_ref())?;
        let request = Request::RespondActivityTaskCanceledById(Box::new(taken(request)?));
        respond_done!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            rr::RespondActivityTaskCanceledByIdResponse {}
        )
    }

    pub(crate) async fn record_activity_task_heartbeat_by_id(
        &self,
        caller: &Caller,
        request: rr::RecordActivityTaskHeartbeatByIdRequest,
    ) -> Handled<rr::RecordActivityTaskHeartbeatByIdResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let workflow_id = by_id(&request.workflow_id, &request.run_id, &request.activity_id)?;
        checks::blob(request.details.as_ref())?;
        let request = Request::RecordActivityTaskHeartbeatById(Box::new(taken(request)?));
        let answer: rr::RecordActivityTaskHeartbeatResponse = respond!(
            self.ask(caller, &namespace, &workflow_id, request).await,
            RecordActivityTaskHeartbeat
        )?;
        Ok(rr::RecordActivityTaskHeartbeatByIdResponse {
            cancel_requested: answer.cancel_requested,
            activity_paused: answer.activity_paused,
            activity_reset: answer.activity_reset,
        })
    }

    // ---- shared ----

    /// The namespace and the token of a request that carries one.
    pub(super) fn of_token(
        &self,
        namespace: &str,
        token: &[u8],
    ) -> Handled<(Arc<NamespaceRecord>, TaskToken)> {
        if namespace.is_empty() {
            let token = checks::task_token(token)?;
            let namespace = self.namespace_by_id(&token.namespace_id)?;
            return Ok((namespace, token));
        }
        let namespace = self.namespace(namespace)?;
        let token = checks::task_token(token)?;
        checks::token_namespace(&token, &namespace.id)?;
        Ok((namespace, token))
    }

    /// Fails an activity whose worker sends more than can be stored; repeating it would not help.
    async fn fail_instead(
        &self,
        caller: &Caller,
        namespace: &NamespaceRecord,
        token: &TaskToken,
        task_token: Vec<u8>,
        identity: String,
        failure: Failure,
    ) -> Handled<()> {
        let request = own::RespondActivityTaskFailedRequest {
            task_token: task_token.into(),
            failure: Some(failure),
            identity,
            namespace: namespace.name.clone(),
            ..Default::default()
        };
        let request = Request::RespondActivityTaskFailed(Box::new(request));
        respond_done!(
            self.ask(caller, namespace, &token.workflow_id.0, request)
                .await,
            ()
        )
    }
}

/// An activity is completed. The workflow task that may come with the answer is for callers that ask for it.
fn completed(answer: Answer) -> Handled<()> {
    match answer? {
        Response::RespondActivityTaskCompleted(_) | Response::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// The workflow that an activity is addressed in.
fn by_id(workflow_id: &str, run_id: &str, activity_id: &str) -> Handled<String> {
    checks::workflow_id(workflow_id)?;
    checks::run_id(run_id)?;
    checks::required(activity_id, "ActivityId")?;
    Ok(workflow_id.to_owned())
}

/// A failure that is final.
fn too_large(message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureFailureInfo::ApplicationFailureInfo(
            ApplicationFailureInfo {
                non_retryable: true,
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

/// A failure too large to store becomes one that says so.
fn shorten(failure: &mut Option<Failure>, message: &str) {
    let is_large = failure
        .as_ref()
        .is_some_and(|failure| fermata_proto::codec::encoded_len(failure) > checks::BLOB_BYTES_MAX);
    if is_large {
        *failure = Some(too_large(message));
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}
