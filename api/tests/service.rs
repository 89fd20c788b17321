//! The services over a real nats-server, with an owner that answers as each test says.

#![allow(deprecated)]

mod support;

use std::time::Duration;

use fermata_api::stubs::operatorservice::operator_service_server::OperatorService;
use fermata_api::stubs::workflowservice::workflow_service_server::WorkflowService;
use fermata_proto::common::{Payload, Payloads, WorkflowExecution, WorkflowType};
use fermata_proto::enums::{HistoryEventFilterType, WorkflowExecutionStatus};
use fermata_proto::event::*;
use fermata_proto::pb::common::v1 as common;
use fermata_proto::pb::enums::v1::{IndexedValueType, NamespaceState};
use fermata_proto::pb::namespace::v1 as namespace;
use fermata_proto::pb::operatorservice::v1 as op;
use fermata_proto::pb::taskqueue::v1::TaskQueue;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::*;
use fermata_proto::service as own;
use fermata_proto::subjects::TaskKind;
use fermata_proto::time::Timestamp;
use fermata_proto::visibility::VisibilityRecord;
use fermata_proto::workflow::WorkflowExecutionInfo;
use fermata_proto::{codec, subjects};
use fermata_test_support::wait_for;
use serde_json::json;
use support::{NAMESPACE_ID, World};
use tonic::{Code, Status};

const DEADLINE: Duration = Duration::from_secs(10);

/// Calls one method of the api's service.
macro_rules! call {
    ($world:expr, $method:ident, $request:expr) => {
        WorkflowService::$method($world.api.service(), tonic::Request::new($request))
            .await
            .map(tonic::Response::into_inner)
    };
}

macro_rules! operate {
    ($world:expr, $method:ident, $request:expr) => {
        OperatorService::$method($world.api.service(), tonic::Request::new($request))
            .await
            .map(tonic::Response::into_inner)
    };
}

#[path = "service/replicas.rs"]
mod replicas;

fn nobody(_: &Call) -> Answer {
    Err(Rejection::not_found("workflow not found for ID: wf"))
}

fn start(namespace: &str) -> rr::StartWorkflowExecutionRequest {
    rr::StartWorkflowExecutionRequest {
        namespace: namespace.to_owned(),
        workflow_id: "wf".to_owned(),
        ..Default::default()
    }
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue {
        name: name.to_owned(),
        ..Default::default()
    })
}

fn told(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

#[tokio::test]
async fn a_start_reaches_the_owner_with_a_request_id() {
    let world = World::start(|_| {
        let response = own::StartWorkflowExecutionResponse {
            run_id: "run".to_owned(),
            started: true,
            ..Default::default()
        };
        Ok(Response::StartWorkflowExecution(Box::new(response)))
    })
    .await;
    let answer = call!(world, start_workflow_execution, start("default")).unwrap();
    assert_eq!((answer.run_id.as_str(), answer.started), ("run", true));
    let heard = world.heard();
    let (workflow_id, Request::StartWorkflowExecution(request)) = &heard[0] else {
        panic!("{heard:?}");
    };
    assert_eq!((workflow_id.as_str(), request.request_id.len()), ("wf", 36));

    let refused = call!(world, start_workflow_execution, start("nowhere")).unwrap_err();
    assert_eq!(
        told(&refused),
        (Code::NotFound, "Namespace nowhere is not found.")
    );
    assert!(!refused.details().is_empty());
    let refused = call!(world, start_workflow_execution, start("")).unwrap_err();
    assert_eq!(
        told(&refused),
        (Code::InvalidArgument, "Namespace is empty.")
    );
    assert_eq!(world.heard().len(), 1);
}

#[tokio::test]
async fn an_answer_that_belongs_to_another_request_is_internal() {
    let world = World::start(|_| Ok(Response::Done)).await;
    let refused = call!(world, start_workflow_execution, start("default")).unwrap_err();
    assert_eq!(
        told(&refused),
        (
            Code::Internal,
            "the engine answered with Done, which nobody asked for"
        )
    );
}

#[tokio::test]
async fn what_carries_a_token_goes_to_the_workflow_that_the_token_names() {
    let world = World::start(|_| Ok(Response::Done)).await;
    let token = |namespace_id: &str| {
        codec::encode_vec(&TaskToken {
            namespace_id: namespace_id.into(),
            workflow_id: "named-by-token".into(),
            ..TaskToken::default()
        })
    };
    let failed = |task_token, namespace: &str| rr::RespondActivityTaskFailedRequest {
        task_token,
        namespace: namespace.to_owned(),
        ..Default::default()
    };
    call!(
        world,
        respond_activity_task_failed,
        failed(token(NAMESPACE_ID), "default")
    )
    .unwrap();
    // Old workers name no namespace.
    call!(
        world,
        respond_activity_task_failed,
        failed(token(NAMESPACE_ID), "")
    )
    .unwrap();
    let heard = world.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|(id, _)| id == "named-by-token"));

    let refused = call!(
        world,
        respond_activity_task_failed,
        failed(token("another"), "default")
    )
    .unwrap_err();
    assert_eq!(
        refused.message(),
        "Operation requested with a token from a different namespace."
    );
    let query = rr::RespondQueryTaskCompletedRequest {
        namespace: "default".to_owned(),
        task_token: token(NAMESPACE_ID),
        ..Default::default()
    };
    let refused = call!(world, respond_query_task_completed, query).unwrap_err();
    assert_eq!(refused.message(), "Error deserializing task token.");
}

#[tokio::test]
async fn a_result_too_large_to_store_fails_the_activity() {
    let world = World::start(|_| Ok(Response::Done)).await;
    let token = TaskToken {
        namespace_id: NAMESPACE_ID.into(),
        workflow_id: "wf".into(),
        ..TaskToken::default()
    };
    let completed = rr::RespondActivityTaskCompletedRequest {
        namespace: "default".to_owned(),
        task_token: codec::encode_vec(&token),
        result: Some(common::Payloads {
            payloads: vec![common::Payload {
                data: vec![b'x'; 2 << 20],
                ..Default::default()
            }],
        }),
        ..Default::default()
    };
    call!(world, respond_activity_task_completed, completed).unwrap();
    let heard = world.heard();
    let (_, Request::RespondActivityTaskFailed(request)) = &heard[0] else {
        panic!("{heard:?}");
    };
    let failure = request.failure.as_ref().unwrap();
    assert_eq!(failure.message, "Complete result exceeds size limit.");
}

#[tokio::test]
async fn a_poll_gives_a_claimed_task_or_the_default_message() {
    let world = World::start(|call| match &call.request {
        Request::ClaimActivityTask(claim) => Ok(Response::ActivityTask(Box::new(
            own::PollActivityTaskQueueResponse {
                activity_id: format!("{} for {}", claim.task.attempt, claim.identity),
                ..Default::default()
            },
        ))),
        _ => nobody(call),
    })
    .await;
    let poll = |timeout: &str| {
        let mut request = tonic::Request::new(rr::PollActivityTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: queue("q"),
            identity: "worker".to_owned(),
            ..Default::default()
        });
        let timeout = timeout.parse().unwrap();
        request.metadata_mut().insert("grpc-timeout", timeout);
        request
    };
    let service = world.api.service();
    let refused = WorkflowService::poll_activity_task_queue(service, poll("1S")).await;
    assert_eq!(
        told(&refused.unwrap_err()),
        (Code::FailedPrecondition, "Context timeout is too short.")
    );
    let began = std::time::Instant::now();
    let nothing = WorkflowService::poll_activity_task_queue(service, poll("2500m")).await;
    assert_eq!(
        nothing.unwrap().into_inner(),
        rr::PollActivityTaskQueueResponse::default()
    );
    assert!(began.elapsed() < Duration::from_millis(2_400));

    let task = TaskReference {
        namespace_id: NAMESPACE_ID.into(),
        workflow_id: "wf".into(),
        attempt: 3,
        ..TaskReference::default()
    };
    let subject = subjects::task(TaskKind::Activity, &NAMESPACE_ID.into(), "q");
    let sent = world.jetstream.publish(subject, codec::encode(&task));
    sent.await.unwrap().await.unwrap();
    let given = WorkflowService::poll_activity_task_queue(service, poll("10S")).await;
    assert_eq!(given.unwrap().into_inner().activity_id, "3 for worker");
}

/// A process of another version gives the task back, for workers that the engine understands.
#[tokio::test]
async fn a_task_outlives_a_claim_in_another_protocol_version() {
    let refusals = std::sync::atomic::AtomicUsize::new(0);
    let world = World::start(move |call| match &call.request {
        Request::ClaimActivityTask(claim) => {
            assert_eq!(claim.protocol, fermata_proto::hello::PROTOCOL_VERSION);
            if refusals.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                return Err(fermata_proto::hello::check_protocol(9).unwrap_err());
            }
            Ok(Response::ActivityTask(Box::new(
                own::PollActivityTaskQueueResponse {
                    activity_id: "understood".to_owned(),
                    ..Default::default()
                },
            )))
        }
        _ => nobody(call),
    })
    .await;
    let task = TaskReference {
        namespace_id: NAMESPACE_ID.into(),
        workflow_id: "wf".into(),
        ..TaskReference::default()
    };
    let subject = subjects::task(TaskKind::Activity, &NAMESPACE_ID.into(), "q");
    let sent = world.jetstream.publish(subject, codec::encode(&task));
    sent.await.unwrap().await.unwrap();
    let poll = rr::PollActivityTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: queue("q"),
        identity: "worker".to_owned(),
        ..Default::default()
    };
    let given = call!(world, poll_activity_task_queue, poll).unwrap();
    assert_eq!(given.activity_id, "understood");
}

#[tokio::test]
async fn a_queue_is_described_with_its_pollers_and_backlog() {
    let world = World::start(nobody).await;
    let describe = |name: &str| rr::DescribeTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: queue(name),
        report_stats: true,
        ..Default::default()
    };
    let backlog = |answer: &rr::DescribeTaskQueueResponse| {
        answer.stats.as_ref().unwrap().approximate_backlog_count
    };
    let empty = call!(world, describe_task_queue, describe("q")).unwrap();
    assert_eq!((backlog(&empty), empty.pollers.len()), (0, 0));

    let subject = subjects::task(TaskKind::Workflow, &NAMESPACE_ID.into(), "q");
    let task = codec::encode(&TaskReference::default());
    let sent = world.jetstream.publish(subject, task);
    sent.await.unwrap().await.unwrap();
    let waiting = call!(world, describe_task_queue, describe("q")).unwrap();
    assert_eq!(backlog(&waiting), 1);

    let poll = rr::PollWorkflowTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: queue("other"),
        identity: "worker".to_owned(),
        ..Default::default()
    };
    let poll = async { call!(world, poll_workflow_task_queue, poll) };
    let _ = tokio::time::timeout(Duration::from_millis(50), poll).await;
    let polled = call!(world, describe_task_queue, describe("other")).unwrap();
    assert_eq!(polled.pollers[0].identity, "worker");
}

#[tokio::test]
async fn namespaces_are_registered_changed_and_listed() {
    let world = World::start(nobody).await;
    let register = |name: &str, seconds| rr::RegisterNamespaceRequest {
        namespace: name.to_owned(),
        workflow_execution_retention_period: Some(prost_wkt_types::Duration { seconds, nanos: 0 }),
        data: [("a".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    let describe = |name: &str| rr::DescribeNamespaceRequest {
        namespace: name.to_owned(),
        ..Default::default()
    };
    call!(world, register_namespace, register("ns", 86_400)).unwrap();
    let refused = call!(world, register_namespace, register("ns", 86_400)).unwrap_err();
    assert_eq!(
        told(&refused),
        (Code::AlreadyExists, "Namespace \"ns\" already exists")
    );
    let refused = call!(world, register_namespace, register("short", 60)).unwrap_err();
    assert_eq!(
        refused.message(),
        "A valid retention period is not set on request."
    );

    let update = rr::UpdateNamespaceRequest {
        namespace: "ns".to_owned(),
        update_info: Some(namespace::UpdateNamespaceInfo {
            description: "after".to_owned(),
            data: [("b".to_owned(), "2".to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    call!(world, update_namespace, update).unwrap();
    let described = call!(world, describe_namespace, describe("ns")).unwrap();
    let info = described.namespace_info.unwrap();
    assert_eq!((info.description.as_str(), info.data.len()), ("after", 2));

    let listed = call!(world, list_namespaces, rr::ListNamespacesRequest::default()).unwrap();
    let names: Vec<_> = listed
        .namespaces
        .into_iter()
        .map(|described| described.namespace_info.unwrap().name)
        .collect();
    assert_eq!(names, ["default", "ns"]);

    let deprecate = rr::DeprecateNamespaceRequest {
        namespace: "ns".to_owned(),
        ..Default::default()
    };
    call!(world, deprecate_namespace, deprecate).unwrap();
    let refused = call!(world, start_workflow_execution, start("ns")).unwrap_err();
    assert_eq!(
        told(&refused),
        (
            Code::FailedPrecondition,
            "Namespace has invalid state: Deprecated. Must be Registered."
        )
    );
}

#[tokio::test]
async fn a_deleted_namespace_frees_its_name() {
    let world = World::start(nobody).await;
    let delete = op::DeleteNamespaceRequest {
        namespace: "default".to_owned(),
        ..Default::default()
    };
    let deleted = operate!(world, delete_namespace, delete).unwrap();
    assert!(deleted.deleted_namespace.starts_with("default-deleted-"));
    let describe = |name: String| rr::DescribeNamespaceRequest {
        namespace: name,
        ..Default::default()
    };
    let gone = call!(world, describe_namespace, describe("default".to_owned()));
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    let kept = call!(
        world,
        describe_namespace,
        describe(deleted.deleted_namespace)
    );
    let state = kept.unwrap().namespace_info.unwrap().state();
    assert_eq!(state, NamespaceState::Deleted);
}

#[tokio::test]
async fn search_attributes_are_added_and_removed() {
    let world = World::start(nobody).await;
    let keyword = IndexedValueType::Keyword as i32;
    let add = |name: &str| op::AddSearchAttributesRequest {
        namespace: "default".to_owned(),
        search_attributes: [(name.to_owned(), keyword)].into(),
    };
    operate!(world, add_search_attributes, add("Customer")).unwrap();
    let refused = operate!(world, add_search_attributes, add("WorkflowId")).unwrap_err();
    assert_eq!(
        refused.message(),
        "Search attribute WorkflowId is reserved by system."
    );
    let list = op::ListSearchAttributesRequest {
        namespace: "default".to_owned(),
    };
    let listed = operate!(world, list_search_attributes, list.clone()).unwrap();
    assert_eq!(
        listed.custom_attributes,
        [("Customer".to_owned(), keyword)].into()
    );
    assert_eq!(listed.system_attributes.len(), 33);
    let remove = op::RemoveSearchAttributesRequest {
        namespace: "default".to_owned(),
        search_attributes: vec!["Customer".to_owned()],
    };
    operate!(world, remove_search_attributes, remove).unwrap();
    let listed = operate!(world, list_search_attributes, list).unwrap();
    assert!(listed.custom_attributes.is_empty());
}

#[tokio::test]
async fn lists_follow_what_owners_publish() {
    let world = World::start(nobody).await;
    let ready = async || world.api.not_ready().is_empty().then_some(());
    wait_for("readiness", DEADLINE, ready).await;
    let mut record = VisibilityRecord {
        namespace_id: NAMESPACE_ID.into(),
        info: WorkflowExecutionInfo {
            execution: Some(WorkflowExecution {
                workflow_id: "wf".to_owned(),
                run_id: "run".to_owned(),
            }),
            r#type: Some(WorkflowType {
                name: "Flow".to_owned(),
            }),
            start_time: Some(Timestamp::from_millis(1)),
            status: WorkflowExecutionStatus::Running,
            ..Default::default()
        },
        deleted: false,
    };
    let count = async |query: &str| {
        let request = rr::CountWorkflowExecutionsRequest {
            namespace: "default".to_owned(),
            query: query.to_owned(),
        };
        call!(world, count_workflow_executions, request)
            .unwrap()
            .count
    };
    world.publish_visibility(&record).await;
    wait_for("the run in the list", DEADLINE, async || {
        (count("WorkflowType = 'Flow'").await == 1).then_some(())
    })
    .await;
    record.info.status = WorkflowExecutionStatus::Completed;
    record.info.close_time = Some(Timestamp::from_millis(2));
    world.publish_visibility(&record).await;
    wait_for("the run as closed", DEADLINE, async || {
        (count("ExecutionStatus = 'Completed'").await == 1).then_some(())
    })
    .await;
    assert_eq!(count("").await, 1);
    record.deleted = true;
    world.publish_visibility(&record).await;
    wait_for("an empty list", DEADLINE, async || {
        (count("").await == 0).then_some(())
    })
    .await;
    let (status, body) = world
        .get("/api/v1/namespaces/default/workflows?query=NoSuchThing%3D1")
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        body["message"],
        "invalid query: invalid search attribute: NoSuchThing"
    );
}

#[tokio::test]
async fn lists_go_on_after_the_broker_was_restarted() {
    let mut world = World::start(nobody).await;
    let ready = async || world.api.not_ready().is_empty().then_some(());
    wait_for("readiness", DEADLINE, ready).await;
    world.nats.kill();
    world.nats.restart().await;
    let record = VisibilityRecord {
        namespace_id: NAMESPACE_ID.into(),
        info: WorkflowExecutionInfo {
            execution: Some(WorkflowExecution {
                workflow_id: "wf".to_owned(),
                run_id: "run".to_owned(),
            }),
            ..Default::default()
        },
        deleted: false,
    };
    wait_for("connections", DEADLINE, async || {
        let connected = world.jetstream.query_account().await.is_ok();
        (connected && world.api.not_ready().is_empty()).then_some(())
    })
    .await;
    world.publish_visibility(&record).await;
    wait_for("the run in the list", DEADLINE, async || {
        let request = rr::CountWorkflowExecutionsRequest {
            namespace: "default".to_owned(),
            ..Default::default()
        };
        let counted = call!(world, count_workflow_executions, request).unwrap();
        (counted.count == 1).then_some(())
    })
    .await;
}

/// A chain of two runs: `first` was continued as `second`, which has completed; `open` runs.
fn chain(call: &Call) -> Answer {
    match &call.request {
        Request::DescribeWorkflowExecution(request) => {
            let mut execution = request.execution.clone().unwrap();
            execution.run_id = match execution.workflow_id.as_str() {
                "chain" => FIRST.to_owned(),
                "open" => OPEN.to_owned(),
                _ => return nobody(call),
            };
            Ok(Response::DescribeWorkflowExecution(Box::new(
                own::DescribeWorkflowExecutionResponse {
                    workflow_execution_info: Some(WorkflowExecutionInfo {
                        execution: Some(execution),
                        ..Default::default()
                    }),
                    ..Default::default()
                },
            )))
        }
        Request::GetWorkflowExecutionHistory(request) => {
            assert_eq!(
                request.history_event_filter_type,
                HistoryEventFilterType::CloseEvent
            );
            let attributes: Option<HistoryEventAttributes> =
                match request.execution.as_ref().unwrap().run_id.as_str() {
                    FIRST => Some(
                        WorkflowExecutionContinuedAsNewEventAttributes {
                            new_execution_run_id: SECOND.to_owned(),
                            ..Default::default()
                        }
                        .into(),
                    ),
                    SECOND => Some(
                        WorkflowExecutionCompletedEventAttributes {
                            result: Some(Payloads {
                                payloads: vec![Payload {
                                    metadata: [("encoding".to_owned(), "json/plain".into())].into(),
                                    data: "42".into(),
                                    ..Default::default()
                                }],
                            }),
                            ..Default::default()
                        }
                        .into(),
                    ),
                    _ => None,
                };
            let events = attributes
                .map(|attributes| HistoryEvent {
                    attributes: Some(attributes),
                    ..Default::default()
                })
                .into_iter();
            Ok(Response::GetWorkflowExecutionHistory(Box::new(
                own::GetWorkflowExecutionHistoryResponse {
                    history: Some(History {
                        events: events.collect(),
                    }),
                    next_page_token: "more".into(),
                    ..Default::default()
                },
            )))
        }
        _ => nobody(call),
    }
}

const FIRST: &str = "00000000-0000-0000-0000-000000000001";
const SECOND: &str = "00000000-0000-0000-0000-000000000002";
const OPEN: &str = "00000000-0000-0000-0000-000000000003";

#[tokio::test]
async fn a_result_is_that_of_the_last_run_of_the_chain() {
    let world = World::start(chain).await;
    let (status, body) = world
        .get("/api/v1/namespaces/default/workflows/chain/result?wait=5s")
        .await;
    assert_eq!(
        (status, body),
        (
            200,
            json!({"status": "COMPLETED", "runId": SECOND, "result": [42]})
        )
    );
    let (_, body) = world
        .get("/namespaces/default/workflows/open/result?wait=0")
        .await;
    assert_eq!(body, json!({"status": "RUNNING", "runId": OPEN}));
    let (status, body) = world
        .get("/namespaces/default/workflows/wf/result?wait=0")
        .await;
    assert_eq!((status, &body["code"]), (404, &json!(5)));
    let (status, _) = world
        .get("/namespaces/default/workflows/wf/result?wait=soon")
        .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn shutting_down_ends_in_time_while_a_poll_waits() {
    let world = World::start(nobody).await;
    let service = world.api.service().clone();
    let poll = tokio::spawn(async move {
        let request = rr::PollWorkflowTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: queue("q"),
            ..Default::default()
        };
        WorkflowService::poll_workflow_task_queue(&service, tonic::Request::new(request)).await
    });
    wait_for("a poll", DEADLINE, async || {
        let describe = rr::DescribeTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: queue("q"),
            ..Default::default()
        };
        let described = call!(world, describe_task_queue, describe).unwrap();
        (described.pollers.len() == 1).then_some(())
    })
    .await;
    let World { api, .. } = world;
    tokio::time::timeout(DEADLINE, api.shutdown())
        .await
        .unwrap();
    let answer = tokio::time::timeout(DEADLINE, poll).await.unwrap().unwrap();
    assert_eq!(
        answer.unwrap().into_inner(),
        rr::PollWorkflowTaskQueueResponse::default()
    );
}
