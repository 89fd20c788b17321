//! An activity seen from outside: completed, failed or kept alive by somebody who is not its worker.

use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::common::Payloads;
use fermata_proto::rpc::{CompleteActivity, RejectionKind, Request, Response, TaskToken};
use fermata_proto::service::*;
use serde::Serialize;

use super::start::not_done;
use super::{ClientError, REQUEST_MAX};
use crate::activity::{ActivityToken, CancelReason};
use crate::connection::Connection;
use crate::error::ApplicationError;
use crate::payload::{PayloadError, to_payloads};

const COMPLETE: &str = "complete an activity of workflow";
const FAIL: &str = "fail an activity of workflow";
const CANCEL: &str = "cancel an activity of workflow";
const HEARTBEAT: &str = "heartbeat an activity of workflow";

/// An activity that was left to be completed later; see [`crate::ActivityError::complete_later`].
///
/// By its token it is one attempt, by its id whichever attempt runs. What is over answers NOT_FOUND, see
/// [`ClientError::is_not_found`].
#[derive(Clone)]
pub struct ActivityHandle {
    connection: Connection,
    workflow_id: String,
    name: Name,
}

#[derive(Clone)]
enum Name {
    Token(Bytes),
    Id { run_id: String, activity_id: String },
}

impl ActivityHandle {
    /// # Errors
    /// If the token is none.
    pub(super) fn by_token(
        connection: Connection,
        token: &ActivityToken,
    ) -> Result<Self, ClientError> {
        let decoded: TaskToken =
            codec::decode(token.as_bytes()).map_err(|_| ClientError::NoToken)?;
        Ok(Self {
            connection,
            workflow_id: decoded.workflow_id.0,
            name: Name::Token(token.0.clone()),
        })
    }

    pub(super) fn by_id(
        connection: Connection,
        workflow_id: String,
        run_id: String,
        activity_id: String,
    ) -> Self {
        Self {
            connection,
            workflow_id,
            name: Name::Id {
                run_id,
                activity_id,
            },
        }
    }

    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// # Errors
    /// If the activity is over, or the engine does not answer.
    pub async fn complete<T: Serialize + 'static>(&self, result: &T) -> Result<(), ClientError> {
        let result = self.payloads(COMPLETE, to_payloads(result))?;
        let (namespace, identity) = self.ours();
        let request = match self.name.clone() {
            Name::Token(task_token) => {
                Request::RespondActivityTaskCompleted(Box::new(CompleteActivity {
                    request: RespondActivityTaskCompletedRequest {
                        task_token,
                        result,
                        identity,
                        namespace,
                        ..RespondActivityTaskCompletedRequest::default()
                    },
                    sticky_queue: None,
                }))
            }
            Name::Id {
                run_id,
                activity_id,
            } => Request::RespondActivityTaskCompletedById(Box::new(
                RespondActivityTaskCompletedByIdRequest {
                    namespace,
                    workflow_id: self.workflow_id.clone(),
                    run_id,
                    activity_id,
                    result,
                    identity,
                    ..RespondActivityTaskCompletedByIdRequest::default()
                },
            )),
        };
        self.send(COMPLETE, request).await
    }

    /// The attempt has failed; the retry policy says what follows.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn fail(&self, error: ApplicationError) -> Result<(), ClientError> {
        let failure = Some(error.into_failure());
        let (namespace, identity) = self.ours();
        let request = match self.name.clone() {
            Name::Token(task_token) => {
                Request::RespondActivityTaskFailed(Box::new(RespondActivityTaskFailedRequest {
                    task_token,
                    failure,
                    identity,
                    namespace,
                    ..RespondActivityTaskFailedRequest::default()
                }))
            }
            Name::Id {
                run_id,
                activity_id,
            } => Request::RespondActivityTaskFailedById(Box::new(
                RespondActivityTaskFailedByIdRequest {
                    namespace,
                    workflow_id: self.workflow_id.clone(),
                    run_id,
                    activity_id,
                    failure,
                    identity,
                    ..RespondActivityTaskFailedByIdRequest::default()
                },
            )),
        };
        self.send(FAIL, request).await
    }

    /// The activity has stopped because its workflow asked for it.
    ///
    /// # Errors
    /// As [`Self::complete`]; also if the workflow did not ask for it.
    pub async fn cancelled<T: Serialize + 'static>(&self, details: &T) -> Result<(), ClientError> {
        let details = self.payloads(CANCEL, to_payloads(details))?;
        let (namespace, identity) = self.ours();
        let request = match self.name.clone() {
            Name::Token(task_token) => {
                Request::RespondActivityTaskCanceled(Box::new(RespondActivityTaskCanceledRequest {
                    task_token,
                    details,
                    identity,
                    namespace,
                    ..RespondActivityTaskCanceledRequest::default()
                }))
            }
            Name::Id {
                run_id,
                activity_id,
            } => Request::RespondActivityTaskCanceledById(Box::new(
                RespondActivityTaskCanceledByIdRequest {
                    namespace,
                    workflow_id: self.workflow_id.clone(),
                    run_id,
                    activity_id,
                    details,
                    identity,
                    ..RespondActivityTaskCanceledByIdRequest::default()
                },
            )),
        };
        self.send(CANCEL, request).await
    }

    /// Tells that somebody is still at it. Sent at once, each time. Gives why the activity should stop, if it should.
    ///
    /// # Errors
    /// As [`Self::complete`], but an activity that is over gives [`CancelReason::Gone`].
    pub async fn heartbeat<T: Serialize + 'static>(
        &self,
        details: &T,
    ) -> Result<Option<CancelReason>, ClientError> {
        let details = self.payloads(HEARTBEAT, to_payloads(details))?;
        let (namespace, identity) = self.ours();
        let request = match self.name.clone() {
            Name::Token(task_token) => {
                Request::RecordActivityTaskHeartbeat(Box::new(RecordActivityTaskHeartbeatRequest {
                    task_token,
                    details,
                    identity,
                    namespace,
                    ..RecordActivityTaskHeartbeatRequest::default()
                }))
            }
            Name::Id {
                run_id,
                activity_id,
            } => Request::RecordActivityTaskHeartbeatById(Box::new(
                RecordActivityTaskHeartbeatByIdRequest {
                    namespace,
                    workflow_id: self.workflow_id.clone(),
                    run_id,
                    activity_id,
                    details,
                    identity,
                    ..RecordActivityTaskHeartbeatByIdRequest::default()
                },
            )),
        };
        match self.call(request).await {
            Ok(Response::RecordActivityTaskHeartbeat(response)) => {
                Ok(CancelReason::asked_by(&response))
            }
            Err(rejection) if rejection.kind == RejectionKind::NotFound => {
                Ok(Some(CancelReason::Gone))
            }
            answer => Err(not_done(HEARTBEAT, self.workflow_id.clone(), answer)),
        }
    }

    fn ours(&self) -> (String, String) {
        let connection = &self.connection;
        (
            connection.namespace.name.clone(),
            connection.identity.to_string(),
        )
    }

    fn payloads(
        &self,
        what: &'static str,
        payloads: Result<Option<Payloads>, PayloadError>,
    ) -> Result<Option<Payloads>, ClientError> {
        payloads.map_err(|source| ClientError::Payload {
            what,
            workflow_id: self.workflow_id.clone(),
            source,
        })
    }

    async fn call(&self, request: Request) -> fermata_proto::rpc::Answer {
        self.connection
            .call(&self.workflow_id, REQUEST_MAX, request)
            .await
    }

    async fn send(&self, what: &'static str, request: Request) -> Result<(), ClientError> {
        match self.call(request).await {
            Ok(Response::Done | Response::RespondActivityTaskCompleted(_)) => Ok(()),
            answer => Err(not_done(what, self.workflow_id.clone(), answer)),
        }
    }
}
