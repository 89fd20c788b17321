//! Calls that wait: updates, alone and with a start, and polls of updates.
//!
//! Such a call stands in the transcript where its answer was read; it was sent before. An update is sent right before the
//! first task that brings it; where that is too late, the player strays.

use fermata_proto::pb::workflowservice::v1 as wire;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use serde_json::{Value, json};

use super::json::{parse, show, with_payloads};
use super::player::{Answered, Call, State};
use super::support::world::namespace;

pub fn is_waiting(rpc: &str) -> bool {
    is_update(rpc) || rpc == "PollWorkflowExecutionUpdate"
}

fn is_update(rpc: &str) -> bool {
    rpc == "UpdateWorkflowExecution" || rpc == "ExecuteMultiOperation"
}

/// Whether a completion is of a task of its own, which the scenario made silently.
pub fn answers_bad_task(calls: &[Call], at: usize) -> bool {
    match calls.get(at + 1).and_then(|next| next["note"].as_str()) {
        Some("events") => true,
        Some("causes") => calls
            .iter()
            .all(|call| call["rpc"] != "StartWorkflowExecution"),
        _ => false,
    }
}

/// The update id of a call, empty if the server makes one.
fn update_id(call: &Call) -> &str {
    let request = &call["request"];
    let update = if request["operations"].is_array() {
        &request["operations"][1]["updateWorkflow"]
    } else {
        request
    };
    update["request"]["meta"]["updateId"]
        .as_str()
        .unwrap_or_default()
}

impl State {
    /// Updates whose answers stand at `at` or behind it, and which are not sent yet.
    pub(super) fn unsent(&self, calls: &[Call], at: usize) -> Vec<usize> {
        (at + 1..calls.len())
            .filter(|index| is_update(calls[*index]["rpc"].as_str().unwrap_or_default()))
            .filter(|index| !self.sent.iter().any(|(sent, _)| sent == index))
            .collect()
    }

    /// Sends what a task in the answer brings, and `more` updates besides.
    pub(super) fn send_ahead(&mut self, calls: &[Call], at: usize, more: usize) {
        let response = &calls[at]["response"];
        let brought = [&response["messages"], &response["workflowTask"]["messages"]];
        for message in brought
            .into_iter()
            .flat_map(|messages| messages.as_array().into_iter().flatten())
        {
            let wanted = message["protocolInstanceId"].as_str().unwrap_or_default();
            let is_wanted = |index: &usize| {
                let id = update_id(&calls[*index]);
                id == wanted || id.is_empty() && wanted.starts_with("<id-")
            };
            if !self.is_known(wanted)
                && let Some(index) = self.unsent(calls, at).into_iter().find(is_wanted)
            {
                self.send_one(calls, index);
            }
        }
        for index in self.unsent(calls, at).into_iter().take(more) {
            self.send_one(calls, index);
        }
    }

    /// Whether an open run has the update under way.
    fn is_known(&self, update_id: &str) -> bool {
        let mut open = self.world.runs.values().filter(|run| run.is_open());
        open.any(|run| run.updates.contains_key(update_id))
    }

    fn send_one(&mut self, calls: &[Call], index: usize) {
        let call = &calls[index];
        let request = with_payloads(&self.ids.for_request(&call["request"]));
        let rpc = call["rpc"].as_str().unwrap_or_default();
        let sent = self.send(rpc, &request);
        self.sent.push((index, sent));
    }

    fn send(&mut self, rpc: &str, request: &Value) -> Result<usize, Rejection> {
        let default = namespace("default").expect("it exists");
        if rpc == "PollWorkflowExecutionUpdate" {
            let request: PollWorkflowExecutionUpdateRequest =
                parse::<wire::PollWorkflowExecutionUpdateRequest, _>(
                    "PollWorkflowExecutionUpdateRequest",
                    request,
                )?;
            return self.world.poll_update(default, &request);
        }
        if rpc == "ExecuteMultiOperation" {
            let request: ExecuteMultiOperationRequest =
                parse::<wire::ExecuteMultiOperationRequest, _>(
                    "ExecuteMultiOperationRequest",
                    request,
                )?;
            let id = request
                .operations
                .iter()
                .find_map(|operation| match &operation.operation {
                    Some(ExecuteMultiOperationRequestOperationOperation::StartWorkflow(start)) => {
                        Some(start.workflow_id.clone())
                    }
                    _ => None,
                });
            let request = Request::ExecuteMultiOperation(Box::new(request));
            return self
                .world
                .send_update(default, &id.unwrap_or_default(), request);
        }
        let request: UpdateWorkflowExecutionRequest =
            parse::<wire::UpdateWorkflowExecutionRequest, _>(
                "UpdateWorkflowExecutionRequest",
                request,
            )?;
        let id = request.workflow_execution.clone().unwrap_or_default();
        let request = Request::UpdateWorkflowExecution(Box::new(request));
        self.world.send_update(default, &id.workflow_id, request)
    }

    /// The answer of a call that waits, in its place.
    pub(super) fn waiting_call(&mut self, at: usize, rpc: &str, request: &Value) -> Answered {
        let sent = match self.sent.iter().find(|(index, _)| *index == at) {
            Some((_, sent)) => sent.clone(),
            None => self.send(rpc, request),
        };
        macro_rules! show {
            ($name:ident, $message:expr) => {
                show::<wire::$name, _>(stringify!($name), *$message)
            };
        }
        Ok(match self.world.update_answer(sent?)? {
            Response::UpdateWorkflowExecution(r) => show!(UpdateWorkflowExecutionResponse, r),
            Response::PollWorkflowExecutionUpdate(r) => {
                show!(PollWorkflowExecutionUpdateResponse, r)
            }
            Response::ExecuteMultiOperation(r) => show!(ExecuteMultiOperationResponse, r),
            other => panic!("no update is answered by {other:?}"),
        })
    }

    /// The update that a bad answer is about.
    pub(super) fn update_bad_workflow(&mut self, workflow_id: &str) {
        let request = json!({
            "namespace": "default", "workflowExecution": {"workflowId": workflow_id},
            "request": {"meta": {"updateId": "update-1", "identity": "wire"}, "input": {"name": "change"}},
        });
        self.send("UpdateWorkflowExecution", &request)
            .expect("it is admitted");
    }
}
