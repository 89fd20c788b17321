//! What the edge does with a call: JSON to a request, the request to its owner, the answer back to JSON.

use fermata_core::describe::describe_execution;
use fermata_core::{Reply, find};
use fermata_proto::enums::*;
use fermata_proto::event::History;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::workflowservice::v1 as wire;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use serde_json::{Value, json};

use super::json::{parse, show};
use super::player::{Answered, Call, State};
use super::support::world::namespace;

impl State {
    /// What the edge does: JSON to a request, to the owner, and the answer back.
    pub(super) fn call(&mut self, rpc: &str, request: &Value, call: &Call) -> Answered {
        macro_rules! read {
            ($name:ident) => {
                parse::<wire::$name, fermata_proto::service::$name>(stringify!($name), request)?
            };
        }
        macro_rules! execution {
            ($field:expr) => {
                $field.clone().unwrap_or_default().workflow_id
            };
        }
        let called = request["namespace"].clone();
        let no_task = || Rejection::new(RejectionKind::Internal, "no task came");
        let (id, request) = match rpc {
            "PollWorkflowTaskQueue" => {
                let _ = call;
                return self.poll_workflow(request, true).ok_or_else(no_task);
            }
            "PollActivityTaskQueue" => {
                return self.poll_activity(request, true).ok_or_else(no_task);
            }
            "DescribeWorkflowExecution" => {
                return self.describe(&read!(DescribeWorkflowExecutionRequest));
            }
            "GetWorkflowExecutionHistory" => {
                return self.history(&read!(GetWorkflowExecutionHistoryRequest));
            }
            "GetWorkflowExecutionHistoryReverse" => {
                return self.history_reverse(&read!(GetWorkflowExecutionHistoryReverseRequest));
            }
            "RespondQueryTaskCompleted" => {
                let answered = self
                    .world
                    .answer_query(&read!(RespondQueryTaskCompletedRequest));
                return answered.map(|()| json!({}));
            }
            "StartWorkflowExecution" => {
                let r = read!(StartWorkflowExecutionRequest);
                (
                    r.workflow_id.clone(),
                    Request::StartWorkflowExecution(Box::new(r)),
                )
            }
            "SignalWithStartWorkflowExecution" => {
                let r = read!(SignalWithStartWorkflowExecutionRequest);
                (
                    r.workflow_id.clone(),
                    Request::SignalWithStartWorkflowExecution(Box::new(r)),
                )
            }
            "SignalWorkflowExecution" => {
                let request = read!(SignalWorkflowExecutionRequest);
                let id = execution!(request.workflow_execution);
                (
                    id,
                    Request::SignalWorkflowExecution(Box::new(SignalWorkflow {
                        request,
                        sender: None,
                    })),
                )
            }
            "RequestCancelWorkflowExecution" => {
                let request = read!(RequestCancelWorkflowExecutionRequest);
                let id = execution!(request.workflow_execution);
                let cancel = RequestCancelWorkflow {
                    request,
                    sender: None,
                };
                (
                    id,
                    Request::RequestCancelWorkflowExecution(Box::new(cancel)),
                )
            }
            "TerminateWorkflowExecution" => {
                let request = read!(TerminateWorkflowExecutionRequest);
                let id = execution!(request.workflow_execution);
                let terminate = TerminateWorkflow {
                    request,
                    sender: None,
                };
                (id, Request::TerminateWorkflowExecution(Box::new(terminate)))
            }
            "DeleteWorkflowExecution" => {
                let r = read!(DeleteWorkflowExecutionRequest);
                (
                    execution!(r.workflow_execution),
                    Request::DeleteWorkflowExecution(Box::new(r)),
                )
            }
            "ResetWorkflowExecution" => {
                let r = read!(ResetWorkflowExecutionRequest);
                (
                    execution!(r.workflow_execution),
                    Request::ResetWorkflowExecution(Box::new(r)),
                )
            }
            "ResetStickyTaskQueue" => {
                let r = read!(ResetStickyTaskQueueRequest);
                (
                    execution!(r.execution),
                    Request::ResetStickyTaskQueue(Box::new(r)),
                )
            }
            "RespondWorkflowTaskCompleted" => {
                let r = read!(RespondWorkflowTaskCompletedRequest);
                (
                    of_token(&r.task_token)?,
                    Request::RespondWorkflowTaskCompleted(Box::new(r)),
                )
            }
            "RespondWorkflowTaskFailed" => {
                let r = read!(RespondWorkflowTaskFailedRequest);
                (
                    of_token(&r.task_token)?,
                    Request::RespondWorkflowTaskFailed(Box::new(r)),
                )
            }
            "RespondActivityTaskCompleted" => {
                let request = read!(RespondActivityTaskCompletedRequest);
                let id = of_token(&request.task_token)?;
                let complete = CompleteActivity {
                    request,
                    sticky_queue: None,
                };
                (
                    id,
                    Request::RespondActivityTaskCompleted(Box::new(complete)),
                )
            }
            "RespondActivityTaskFailed" => {
                let r = read!(RespondActivityTaskFailedRequest);
                (
                    of_token(&r.task_token)?,
                    Request::RespondActivityTaskFailed(Box::new(r)),
                )
            }
            "RespondActivityTaskCanceled" => {
                let r = read!(RespondActivityTaskCanceledRequest);
                (
                    of_token(&r.task_token)?,
                    Request::RespondActivityTaskCanceled(Box::new(r)),
                )
            }
            "RecordActivityTaskHeartbeat" => {
                let r = read!(RecordActivityTaskHeartbeatRequest);
                (
                    of_token(&r.task_token)?,
                    Request::RecordActivityTaskHeartbeat(Box::new(r)),
                )
            }
            "RespondActivityTaskCompletedById" => {
                let r = read!(RespondActivityTaskCompletedByIdRequest);
                (
                    r.workflow_id.clone(),
                    Request::RespondActivityTaskCompletedById(Box::new(r)),
                )
            }
            "RespondActivityTaskFailedById" => {
                let r = read!(RespondActivityTaskFailedByIdRequest);
                (
                    r.workflow_id.clone(),
                    Request::RespondActivityTaskFailedById(Box::new(r)),
                )
            }
            "RespondActivityTaskCanceledById" => {
                let r = read!(RespondActivityTaskCanceledByIdRequest);
                (
                    r.workflow_id.clone(),
                    Request::RespondActivityTaskCanceledById(Box::new(r)),
                )
            }
            "RecordActivityTaskHeartbeatById" => {
                let r = read!(RecordActivityTaskHeartbeatByIdRequest);
                (
                    r.workflow_id.clone(),
                    Request::RecordActivityTaskHeartbeatById(Box::new(r)),
                )
            }
            other => panic!("{other} is not played"),
        };
        let namespace = self.namespace(called.as_str().unwrap_or("default"))?;
        let completion = match &request {
            Request::RespondWorkflowTaskCompleted(r) => Some(r.clone()),
            _ => None,
        };
        let reply = self.world.request(namespace, &id, request)?;
        if let Some(completion) = completion {
            self.world
                .take_query_results(&completion.task_token, &completion);
        }
        Ok(self.show_reply(reply))
    }

    fn show_reply(&mut self, reply: Reply) -> Value {
        macro_rules! show {
            ($name:ident, $message:expr) => {
                show::<wire::$name, _>(stringify!($name), $message)
            };
        }
        match reply {
            Reply::Response(Response::StartWorkflowExecution(r)) => {
                show!(StartWorkflowExecutionResponse, *r)
            }
            Reply::Response(Response::SignalWorkflowExecution(r)) => {
                show!(SignalWorkflowExecutionResponse, *r)
            }
            Reply::WorkflowStarted {
                mut response,
                workflow_task,
            } => {
                response.eager_workflow_task = Some(self.world.complete(*workflow_task));
                let shown = show!(StartWorkflowExecutionResponse, *response);
                let token = shown["eagerWorkflowTask"]["taskToken"].as_str();
                self.workflow_tokens
                    .push(token.expect("a task has a token").to_owned());
                shown
            }
            Reply::Response(Response::SignalWithStartWorkflowExecution(r)) => {
                show!(SignalWithStartWorkflowExecutionResponse, *r)
            }
            Reply::Response(Response::ResetWorkflowExecution(r)) => {
                show!(ResetWorkflowExecutionResponse, *r)
            }
            Reply::Response(Response::RecordActivityTaskHeartbeat(r)) => {
                show!(RecordActivityTaskHeartbeatResponse, *r)
            }
            Reply::WorkflowTaskCompleted {
                mut response,
                workflow_task,
            } => {
                response.workflow_task = workflow_task.map(|handout| self.world.complete(*handout));
                let shown = show!(RespondWorkflowTaskCompletedResponse, *response);
                if let Some(token) = shown["workflowTask"]["taskToken"].as_str() {
                    self.workflow_tokens.push(token.to_owned());
                }
                for task in shown["activityTasks"].as_array().into_iter().flatten() {
                    self.activity_tokens
                        .push(task["taskToken"].as_str().expect("a token").to_owned());
                }
                shown
            }
            Reply::Response(Response::Done) | Reply::None | Reply::ActivityCompleted { .. } => {
                json!({})
            }
            other => panic!("no call is answered by {other:?}"),
        }
    }

    fn describe(&mut self, request: &DescribeWorkflowExecutionRequest) -> Answered {
        let namespace = self.namespace(&request.namespace)?;
        let execution = request.execution.clone().unwrap_or_default();
        let view = self
            .world
            .view(&namespace.id, &execution.workflow_id, &execution.run_id);
        let response = describe_execution(&view, request.execution.as_ref(), self.world.now)?;
        Ok(show::<wire::DescribeWorkflowExecutionResponse, _>(
            "DescribeWorkflowExecutionResponse",
            response,
        ))
    }

    fn namespace(&self, name: &str) -> Result<&'static NamespaceRecord, Rejection> {
        namespace(name).ok_or_else(|| {
            let detail = fermata_proto::error_details::NamespaceNotFoundFailure {
                namespace: name.to_owned(),
            };
            Rejection::new(
                RejectionKind::NotFound,
                format!("Namespace {name} is not found."),
            )
            .with(ErrorDetail::NamespaceNotFound(detail))
        })
    }

    fn history(&mut self, request: &GetWorkflowExecutionHistoryRequest) -> Answered {
        let namespace = self.namespace(&request.namespace)?;
        let execution = request.execution.clone().unwrap_or_default();
        let view = self
            .world
            .view(&namespace.id, &execution.workflow_id, &execution.run_id);
        let run = find::run(&view, request.execution.as_ref())?;
        let mut events = self.world.history(run);
        if request.history_event_filter_type == HistoryEventFilterType::CloseEvent {
            events.drain(..events.len() - usize::from(!run.is_open()));
        }
        let response = GetWorkflowExecutionHistoryResponse {
            history: Some(History { events }),
            ..GetWorkflowExecutionHistoryResponse::default()
        };
        Ok(show::<wire::GetWorkflowExecutionHistoryResponse, _>(
            "GetWorkflowExecutionHistoryResponse",
            response,
        ))
    }

    fn history_reverse(&mut self, request: &GetWorkflowExecutionHistoryReverseRequest) -> Answered {
        let forward = GetWorkflowExecutionHistoryRequest {
            namespace: request.namespace.clone(),
            execution: request.execution.clone(),
            ..GetWorkflowExecutionHistoryRequest::default()
        };
        let mut shown = self.history(&forward)?;
        if let Some(events) = shown["history"]["events"].as_array_mut() {
            events.reverse();
        }
        Ok(shown)
    }
}

/// The workflow id that a token names: what the edge routes by.
fn of_token(token: &[u8]) -> Result<String, Rejection> {
    if token.is_empty() {
        return Ok(String::new());
    }
    fermata_proto::codec::decode::<TaskToken>(token)
        .map(|token| token.workflow_id.0)
        .map_err(|_| Rejection::invalid_argument("Error deserializing task token."))
}
