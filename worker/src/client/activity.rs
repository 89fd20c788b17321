//! An activity seen from outside: completed, failed or kept alive by somebody who is not its worker.

use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::common::Payloads;
use fermata_proto::rpc::{RejectionKind, Request, Response, TaskToken};
use fermata_proto::service::*;
use serde::Serialize;

use super::start::not_done;
use super::{ClientError, REQUEST_MAX};
use crate::activity::{ActivityToken, CancelReason};
use crate::connection::Connection;
use crate::error::ApplicationError;
use crate::payload::PayloadError;

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

/// A request about the activity, by its token or by its id. Temporal has a message for each, with the same fields but for those
/// that name the activity.
macro_rules! request {
    ($handle:ident, $by_token:ident($token_form:ident) or $by_id:ident($id_form:ident), $field:ident) => {{
        let namespace = $handle.connection.namespace.name.clone();
        let identity = $handle.connection.identity.to_string();
        match $handle.name.clone() {
            Name::Token(task_token) => {
                let request = $token_form {
                    task_token,
                    namespace,
                    identity,
                    $field,
                    ..$token_form::default()
                };
                Request::$by_token(Box::new(request.into()))
            }
            Name::Id {
                run_id,
                activity_id,
            } => Request::$by_id(Box::new($id_form {
                namespace,
                identity,
                workflow_id: $handle.workflow_id.clone(),
                run_id,
                activity_id,
                $field,
                ..$id_form::default()
            })),
        }
    }};
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
        let result = self.payloads(COMPLETE, self.connection.converter.to_payloads(result))?;
        let request = request!(
            self,
            RespondActivityTaskCompleted(RespondActivityTaskCompletedRequest) or RespondActivityTaskCompletedById(RespondActivityTaskCompletedByIdRequest),
            result
        );
        self.send(COMPLETE, request).await
    }

    /// The attempt has failed; the retry policy says what follows.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub async fn fail(&self, error: ApplicationError) -> Result<(), ClientError> {
        let failure = Some(error.into_failure());
        let request = request!(
            self,
            RespondActivityTaskFailed(RespondActivityTaskFailedRequest) or RespondActivityTaskFailedById(RespondActivityTaskFailedByIdRequest),
            failure
        );
        self.send(FAIL, request).await
    }

    /// The activity has stopped because its workflow asked for it.
    ///
    /// # Errors
    /// As [`Self::complete`]; also if the workflow did not ask for it.
    pub async fn cancelled<T: Serialize + 'static>(&self, details: &T) -> Result<(), ClientError> {
        let details = self.payloads(CANCEL, self.connection.converter.to_payloads(details))?;
        let request = request!(
            self,
            RespondActivityTaskCanceled(RespondActivityTaskCanceledRequest) or RespondActivityTaskCanceledById(RespondActivityTaskCanceledByIdRequest),
            details
        );
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
        let details = self.payloads(HEARTBEAT, self.connection.converter.to_payloads(details))?;
        let request = request!(
            self,
            RecordActivityTaskHeartbeat(RecordActivityTaskHeartbeatRequest) or RecordActivityTaskHeartbeatById(RecordActivityTaskHeartbeatByIdRequest),
            details
        );
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
