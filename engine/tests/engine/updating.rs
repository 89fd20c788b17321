//! Updates: callers that wait, give up, come back after a crash, and read old outcomes.

use std::time::Duration;

use fermata_proto::any::UpdateMessage;
use fermata_proto::common::{Payload, Payloads, WorkflowType};
use fermata_proto::enums::UpdateWorkflowExecutionLifecycleStage as Stage;
use fermata_proto::protocol::Message;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::update::{
    Acceptance, Input, Meta, Outcome, OutcomeValue, UpdateRef, WaitPolicy,
};
use tokio::time::Instant;

use crate::world::*;

fn wait_policy(stage: Stage) -> Option<WaitPolicy> {
    Some(WaitPolicy {
        lifecycle_stage: stage,
    })
}

fn update(update_id: &str) -> Request {
    Request::UpdateWorkflowExecution(Box::new(UpdateWorkflowExecutionRequest {
        workflow_execution: execution("order", ""),
        wait_policy: wait_policy(Stage::Completed),
        request: Some(fermata_proto::update::Request {
            meta: Some(Meta {
                update_id: update_id.to_owned(),
                ..Meta::default()
            }),
            input: Some(Input {
                name: "change".to_owned(),
                ..Input::default()
            }),
            ..fermata_proto::update::Request::default()
        }),
        ..UpdateWorkflowExecutionRequest::default()
    }))
}

async fn send(
    world: &World,
    update_id: &str,
) -> Result<UpdateWorkflowExecutionResponse, Rejection> {
    match world.call("order", update(update_id)).await? {
        Response::UpdateWorkflowExecution(response) => Ok(*response),
        other => panic!("{other:?}"),
    }
}

async fn poll(world: &World, update_id: &str, stage: Stage) -> PollWorkflowExecutionUpdateResponse {
    let request = PollWorkflowExecutionUpdateRequest {
        update_ref: Some(UpdateRef {
            workflow_execution: execution("order", ""),
            update_id: update_id.to_owned(),
        }),
        wait_policy: wait_policy(stage),
        ..PollWorkflowExecutionUpdateRequest::default()
    };
    let request = Request::PollWorkflowExecutionUpdate(Box::new(request));
    match world.ok("order", request).await {
        Response::PollWorkflowExecutionUpdate(response) => *response,
        other => panic!("{other:?}"),
    }
}

fn outcome(update_id: &str) -> Outcome {
    let payload = Payload {
        data: update_id.to_owned().into(),
        ..Payload::default()
    };
    Outcome {
        value: Some(OutcomeValue::Success(Payloads {
            payloads: vec![payload],
        })),
    }
}

fn say(update_id: &str, said: UpdateMessage) -> Message {
    Message {
        id: format!("{update_id}/said"),
        protocol_instance_id: update_id.to_owned(),
        sequencing_id: None,
        body: Some(said.into_body()),
    }
}

/// Accepts and completes what the task brings; gives the ids.
async fn answer(world: &World, task: &PollWorkflowTaskQueueResponse) -> Vec<String> {
    let mut messages = Vec::new();
    let mut ids = Vec::new();
    for request in &task.messages {
        let id = &request.protocol_instance_id;
        let acceptance = Acceptance {
            accepted_request_message_id: request.id.clone(),
            accepted_request_sequencing_event_id: task.started_event_id - 1,
            accepted_request: None,
        };
        let response = fermata_proto::update::Response {
            meta: Some(Meta {
                update_id: id.clone(),
                ..Meta::default()
            }),
            outcome: Some(outcome(id)),
        };
        messages.push(say(id, UpdateMessage::Acceptance(acceptance)));
        messages.push(say(id, UpdateMessage::Response(response)));
        ids.push(id.clone());
    }
    let request = RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token.clone(),
        messages,
        ..RespondWorkflowTaskCompletedRequest::default()
    };
    world.complete_with(task, request).await;
    ids
}

/// A workflow that has done its first task.
async fn idle(world: &World) {
    world.start_workflow("order").await;
    let task = world.workflow_task().await;
    world.complete(&task, Vec::new()).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_hears_the_outcome_that_a_worker_gives() {
    let (world, engine) = World::with_engine().await;
    idle(&world).await;
    let worker = async {
        let task = world.workflow_task().await;
        // Nothing of it is an event yet.
        let info = world.describe("order").await.workflow_execution_info;
        assert_eq!(info.unwrap().history_length, 4);
        answer(&world, &task).await
    };
    let (response, ids) = tokio::join!(send(&world, "u"), worker);
    let response = response.unwrap();
    assert_eq!(ids, ["u"]);
    assert_eq!(response.outcome, Some(outcome("u")));
    assert_eq!(response.stage, Stage::Completed);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_patient_caller_is_told_after_twenty_seconds_how_far_the_update_is() {
    let (world, engine) = World::with_engine().await;
    idle(&world).await;
    let began = Instant::now();
    let response = send(&world, "u").await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 20);
    assert_eq!((response.stage, response.outcome), (Stage::Admitted, None));
    let polled = poll(&world, "u", Stage::Accepted).await;
    assert_eq!(
        (polled.stage, began.elapsed().as_secs()),
        (Stage::Admitted, 40)
    );
    let task = world.workflow_task().await;
    answer(&world, &task).await;
    let polled = poll(&world, "u", Stage::Completed).await;
    assert_eq!(polled.outcome, Some(outcome("u")));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_hears_that_its_time_is_over() {
    let (world, engine) = World::with_engine().await;
    idle(&world).await;
    let call = Call {
        namespace_id: world.namespace.clone(),
        workflow_id: "order".into(),
        wait_ms: 2_000,
        request: update("u"),
    };
    let partition = world.partition("order");
    let late = world
        .broker
        .call(partition, &call, Duration::from_secs(10))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(late.kind, RejectionKind::DeadlineExceeded);
    assert_eq!(
        poll(&world, "u", Stage::Unspecified).await.stage,
        Stage::Admitted
    );
    engine.shutdown().await;
}

/// The next owner has the update and its task; the caller, told to ask again, joins it.
#[tokio::test(start_paused = true)]
async fn an_admitted_update_outlives_its_owner() {
    let (mut world, engine) = World::with_engine().await;
    idle(&world).await;
    let first = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.shutdown().await;
    };
    let admit = async {
        let call = Call {
            namespace_id: world.namespace.clone(),
            workflow_id: "order".into(),
            wait_ms: 30_000,
            request: update("u"),
        };
        let partition = world.partition("order");
        world
            .broker
            .call(partition, &call, Duration::from_secs(30))
            .await
    };
    let (gone, ()) = tokio::join!(admit, first);
    assert_eq!(gone.unwrap().unwrap_err().kind, RejectionKind::NotOwner);
    let second = world.start("two").await;
    let worker = async {
        let task = world.workflow_task().await;
        answer(&world, &task).await
    };
    let (response, ids) = tokio::join!(send(&world, "u"), worker);
    assert_eq!(
        (ids.len(), response.unwrap().outcome),
        (1, Some(outcome("u")))
    );
    second.shutdown().await;
}

/// The outcome lies in a chunk that only the store has.
#[tokio::test(start_paused = true)]
async fn an_old_outcome_is_read_from_history() {
    let (world, engine) = World::with_engine().await;
    idle(&world).await;
    let worker = async {
        let task = world.workflow_task().await;
        answer(&world, &task).await
    };
    let (response, _) = tokio::join!(send(&world, "u"), worker);
    response.unwrap();
    for step in 0..10 {
        world.signal("order", &format!("s{step}")).await.unwrap();
        let task = world.workflow_task().await;
        world.complete(&task, vec![marker(30_000)]).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let again = send(&world, "u").await.unwrap();
    assert_eq!(again.outcome, Some(outcome("u")));
    let task = {
        world.signal("order", "last").await.unwrap();
        world.workflow_task().await
    };
    world.complete(&task, vec![done()]).await;
    let polled = poll(&world, "u", Stage::Completed).await;
    assert_eq!(polled.outcome, Some(outcome("u")));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_terminated_workflow_are_told() {
    let (world, engine) = World::with_engine().await;
    idle(&world).await;
    let end = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.terminate("order").await;
    };
    let (aborted, ()) = tokio::join!(send(&world, "u"), end);
    assert_eq!(
        aborted.unwrap_err().message,
        "workflow update was aborted by closing workflow"
    );
    engine.shutdown().await;
}

/// The run closes under the update of an update-with-start: the owner asks once more by itself, which starts another run.
#[tokio::test(start_paused = true)]
async fn an_update_with_start_goes_to_the_next_run() {
    use ExecuteMultiOperationRequestOperationOperation as Operation;
    let (world, engine) = World::with_engine().await;
    idle(&world).await;
    let start = StartWorkflowExecutionRequest {
        workflow_id: "order".to_owned(),
        workflow_type: Some(WorkflowType {
            name: "Flow".to_owned(),
        }),
        task_queue: Some(queue("tq")),
        request_id: "another".to_owned(),
        workflow_id_conflict_policy: fermata_proto::enums::WorkflowIdConflictPolicy::UseExisting,
        ..StartWorkflowExecutionRequest::default()
    };
    let Request::UpdateWorkflowExecution(update) = update("u") else {
        panic!("it is an update");
    };
    let operations = [
        Operation::StartWorkflow(start),
        Operation::UpdateWorkflow(*update),
    ];
    let request = ExecuteMultiOperationRequest {
        operations: operations
            .map(|operation| ExecuteMultiOperationRequestOperation {
                operation: Some(operation),
            })
            .into(),
        ..ExecuteMultiOperationRequest::default()
    };
    let worker = async {
        let task = world.workflow_task().await;
        assert_eq!(task.messages.len(), 1);
        world.complete(&task, vec![done()]).await;
        let task = world.workflow_task().await;
        answer(&world, &task).await
    };
    let request = Request::ExecuteMultiOperation(Box::new(request));
    let (answered, ids) = tokio::join!(world.ok("order", request), worker);
    assert_eq!(ids, ["u"]);
    let Response::ExecuteMultiOperation(response) = answered else {
        panic!("{answered:?}");
    };
    let Some(ExecuteMultiOperationResponseResponseResponse::UpdateWorkflow(update)) =
        &response.responses[1].response
    else {
        panic!("{response:?}");
    };
    assert_eq!(update.outcome, Some(outcome("u")));
    engine.shutdown().await;
}
