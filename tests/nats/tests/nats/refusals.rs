//! Mistakes of a worker's author, and where they show.

use async_nats::jetstream::consumer::PullConsumer;
use fermata_proto::codec;
use fermata_proto::common::WorkflowType;
use fermata_proto::hello::{Hello, PROTOCOL_VERSION};
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::{command, enums, ids, subjects};
use futures::StreamExt;

use crate::deployment::Deployment;
use crate::foreign::{ForeignWorker, Language};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_for_an_unknown_namespace_ends_with_the_reason() {
    let deployment = Deployment::start().await;
    for language in Language::ALL {
        let url = deployment.nats.url();
        let mut worker = ForeignWorker::spawn(language, &url, "mixed", "nowhere");
        assert!(!worker.ended().await, "{language:?} did not fail");
        worker.wait_for_log("Namespace nowhere is not found.").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hellos_that_make_no_sense_are_refused_in_words() {
    let deployment = Deployment::start().await;
    let good = Hello {
        protocol: PROTOCOL_VERSION,
        namespace: "default".to_owned(),
        task_queue: String::new(),
    };
    let welcome = deployment.hello(&good).await.unwrap();
    assert_eq!(welcome.consumer, "");
    assert_eq!(welcome.protocol, PROTOCOL_VERSION);

    let with = |change: fn(&mut Hello)| {
        let mut hello = good.clone();
        change(&mut hello);
        hello
    };
    for (hello, kind, words) in [
        (
            with(|hello| hello.protocol = 9),
            RejectionKind::ProtocolMismatch,
            "protocol version 9 is not spoken here: this Fermata speaks version 1",
        ),
        (
            with(|hello| hello.protocol = 0),
            RejectionKind::InvalidArgument,
            "says its protocol version",
        ),
        (
            with(|hello| hello.namespace = String::new()),
            RejectionKind::InvalidArgument,
            "names its namespace",
        ),
        (
            with(|hello| hello.task_queue = "q".repeat(1_001)),
            RejectionKind::InvalidArgument,
            "length exceeds limit",
        ),
    ] {
        let refused = deployment.hello(&hello).await.unwrap_err();
        assert_eq!(refused.kind, kind, "{hello:?}");
        assert!(refused.message.contains(words), "{refused}");
    }
    for subject in [subjects::HELLO, subjects::CALL] {
        let reply = deployment
            .client
            .request(subject, "hello?".into())
            .await
            .unwrap();
        let refused = codec::decode::<Result<(), Rejection>>(&reply.payload)
            .unwrap()
            .unwrap_err();
        assert_eq!(refused.kind, RejectionKind::InvalidArgument);
        assert!(refused.message.contains("does not decode"), "{refused}");
    }
}

/// The task stays for a worker that is understood.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_in_another_protocol_version_is_refused_and_takes_nothing() {
    let deployment = Deployment::start().await;
    let welcome = deployment.welcome("activities").await;
    let task = scheduled_activity(&deployment, &welcome.namespace_id, "activities").await;
    let stream = deployment
        .jetstream
        .get_stream(&welcome.stream)
        .await
        .unwrap();
    let consumer: PullConsumer = stream.get_consumer(&welcome.consumer).await.unwrap();
    let message = consumer
        .messages()
        .await
        .unwrap()
        .next()
        .await
        .unwrap()
        .unwrap();
    let reference: TaskReference = codec::decode(&message.payload).unwrap();
    assert_eq!(reference, task);
    let claim = |protocol| {
        Request::ClaimActivityTask(Box::new(ClaimTask {
            task: task.clone(),
            task_queue: queue("activities"),
            identity: "tester".to_owned(),
            claim_id: uuid::Uuid::new_v4().to_string(),
            protocol,
            ..ClaimTask::default()
        }))
    };
    let refused = deployment.call(&welcome, "wf", claim(9)).await.unwrap_err();
    assert_eq!(refused.kind, RejectionKind::ProtocolMismatch);
    assert!(refused.message.contains("version 9"), "{refused}");
    let claimed = deployment
        .call(&welcome, "wf", claim(PROTOCOL_VERSION))
        .await;
    assert!(
        matches!(claimed, Ok(Response::ActivityTask(_))),
        "{claimed:?}"
    );
}

fn queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        kind: enums::TaskQueueKind::Normal,
        ..TaskQueue::default()
    }
}

/// A workflow whose one activity waits on a queue; everything through `fm.call`, for which no partition is needed.
async fn scheduled_activity(
    deployment: &Deployment,
    namespace_id: &ids::NamespaceId,
    task_queue: &str,
) -> TaskReference {
    let welcome = deployment.welcome("").await;
    let start = StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_id: "wf".to_owned(),
        workflow_type: Some(WorkflowType {
            name: "Wf".to_owned(),
        }),
        task_queue: Some(queue("workflows")),
        request_id: "start".to_owned(),
        ..StartWorkflowExecutionRequest::default()
    };
    let started = deployment
        .call(
            &welcome,
            "wf",
            Request::StartWorkflowExecution(Box::new(start)),
        )
        .await;
    let Ok(Response::StartWorkflowExecution(started)) = started else {
        panic!("{started:?}");
    };
    let claim = ClaimTask {
        task: TaskReference {
            namespace_id: namespace_id.clone(),
            workflow_id: "wf".into(),
            run_id: started.run_id.clone(),
            scheduled_event_id: 2,
            attempt: 1,
            query_id: None,
            stamp: 0,
        },
        task_queue: queue("workflows"),
        identity: "tester".to_owned(),
        claim_id: uuid::Uuid::new_v4().to_string(),
        ..ClaimTask::default()
    };
    let claimed = deployment
        .call(&welcome, "wf", Request::ClaimWorkflowTask(Box::new(claim)))
        .await;
    let Ok(Response::WorkflowTask(claimed)) = claimed else {
        panic!("{claimed:?}");
    };
    let activity = command::ScheduleActivityTaskCommandAttributes {
        activity_id: "1".to_owned(),
        activity_type: Some(fermata_proto::common::ActivityType {
            name: "greet".to_owned(),
        }),
        task_queue: Some(queue(task_queue)),
        start_to_close_timeout: Some(std::time::Duration::from_secs(30)),
        ..command::ScheduleActivityTaskCommandAttributes::default()
    };
    let completed = RespondWorkflowTaskCompletedRequest {
        task_token: claimed.task_token.clone(),
        commands: vec![command::Command::new(activity)],
        identity: "tester".to_owned(),
        ..RespondWorkflowTaskCompletedRequest::default()
    };
    let request = Request::RespondWorkflowTaskCompleted(Box::new(completed));
    let completed = deployment.call(&welcome, "wf", request).await;
    assert!(completed.is_ok(), "{completed:?}");
    TaskReference {
        namespace_id: namespace_id.clone(),
        workflow_id: "wf".into(),
        run_id: started.run_id,
        scheduled_event_id: 5,
        attempt: 1,
        query_id: None,
        stamp: 0,
    }
}
