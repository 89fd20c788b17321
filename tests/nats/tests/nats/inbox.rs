//! The durable inbox: a plain publish is done once, whatever dies.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use fermata_proto::codec;
use fermata_proto::common::{Payload, Payloads, WorkflowType};
use fermata_proto::inbox::*;
use fermata_proto::service::*;
use fermata_proto::subjects;
use fermata_proto::taskqueue::TaskQueue;
use fermata_test_support::{Fermata, NatsServer, wait_for};
use fermata_worker::{Client, Worker, WorkflowContext, WorkflowResult};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::deployment::{Deployment, SOON, inbox_outcomes};

const STARTED: &str = "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED";
const SIGNALED: &str = "EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED";
const CANCEL_REQUESTED: &str = "EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED";

async fn pay(ctx: WorkflowContext, order: Value) -> WorkflowResult<Value> {
    let paid: Option<Value> = ctx.signal("pay").next().await;
    Ok(json!({"order": order, "paid": paid}))
}

fn start(workflow_id: &str) -> String {
    json!({"startWorkflowExecution": {
        "workflowId": workflow_id, "workflowType": {"name": "pay"}, "taskQueue": {"name": "orders"},
        "input": [{"item": "metronome"}],
    }})
    .to_string()
}

fn signal(workflow_id: &str) -> String {
    json!({"signalWorkflowExecution": {
        "workflowExecution": {"workflowId": workflow_id}, "signalName": "pay", "input": [42],
    }})
    .to_string()
}

fn occurrences(types: &[String], wanted: &str) -> usize {
    types.iter().filter(|kind| *kind == wanted).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_while_no_engine_runs_is_done_when_one_does() {
    let mut deployment = Deployment::start().await;
    deployment.fermata.kill();
    deployment.publish(start("by-json")).await;
    // A plain publish, as by `nats pub`.
    let body = signal("by-json");
    deployment
        .client
        .publish("fm.inbox.default", body.into())
        .await
        .unwrap();
    // And MessagePack, to the namespace's id, with a content type.
    let json = |text: &str| {
        Some(Payloads {
            payloads: vec![Payload {
                metadata: [("encoding".to_owned(), "json/plain".into())].into(),
                data: text.to_owned().into(),
                ..Payload::default()
            }],
        })
    };
    let request = SignalWithStartWorkflowExecutionRequest {
        workflow_id: "by-messagepack".to_owned(),
        workflow_type: Some(WorkflowType {
            name: "pay".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "orders".to_owned(),
            ..TaskQueue::default()
        }),
        input: json("\"a book\""),
        signal_name: "pay".to_owned(),
        signal_input: json("7"),
        ..SignalWithStartWorkflowExecutionRequest::default()
    };
    let request = InboxRequest::SignalWithStartWorkflowExecution(Box::new(request));
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/msgpack");
    deployment
        .publish_with(headers, codec::encode(&request))
        .await;
    assert_eq!(deployment.inbox_length().await, 3);

    deployment.fermata.start_again();
    deployment.fermata.wait_until_ready().await;
    let client = Client::connect(deployment.nats.url()).await.unwrap();
    tokio::spawn(Worker::new(&client, "orders").workflow(pay).run());
    for (workflow_id, result) in [
        (
            "by-json",
            json!({"order": {"item": "metronome"}, "paid": 42}),
        ),
        ("by-messagepack", json!({"order": "a book", "paid": 7})),
    ] {
        deployment.wait_for_event(workflow_id, STARTED).await;
        let handle = client.workflow::<Value>(workflow_id);
        let ended = tokio::time::timeout(SOON, handle.result()).await.unwrap();
        assert_eq!(ended.unwrap(), result);
        let types = deployment.event_types(workflow_id).await;
        assert_eq!(occurrences(&types, SIGNALED), 1, "{types:?}");
    }
    deployment.wait_until_the_inbox_is_empty().await;
    wait_for("two runs in lists", SOON, async || {
        (deployment.count("by-").await == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_is_one_request() {
    let deployment = Deployment::start().await;
    deployment.publish(start("wf")).await;
    deployment.wait_for_event("wf", STARTED).await;
    // JetStream knows the message id for a while, and the workflow the request id for as long as it runs.
    let mut with_id = HeaderMap::new();
    with_id.insert("Nats-Msg-Id", "payment-1");
    let of_body = json!({"signalWorkflowExecution": {
        "workflowExecution": {"workflowId": "wf"}, "signalName": "pay", "input": [42], "requestId": "payment-1",
    }});
    deployment.publish_with(with_id.clone(), signal("wf")).await;
    deployment.publish_with(with_id, signal("wf")).await;
    deployment.publish(of_body.to_string()).await;
    let cancel =
        json!({"RequestCancelWorkflowExecution": {"workflowExecution": {"workflowId": "wf"}}});
    deployment.publish(cancel.to_string()).await;
    deployment.wait_for_event("wf", CANCEL_REQUESTED).await;
    deployment.wait_until_the_inbox_is_empty().await;
    let types = deployment.event_types("wf").await;
    assert_eq!(occurrences(&types, STARTED), 1, "{types:?}");
    assert_eq!(occurrences(&types, SIGNALED), 1, "{types:?}");
}

/// The broker drops the acknowledgements, so the engine dies after each commit and before its message has ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_between_commit_and_acknowledgement_does_nothing_twice() {
    let nats = NatsServer::options()
        .deny_publish("$JS.ACK.FM_INBOX.>")
        .start()
        .await;
    let mut deployment = Deployment::start_on(nats).await;
    deployment.publish(start("wf")).await;
    deployment.wait_for_event("wf", STARTED).await;
    deployment.publish(signal("wf")).await;
    deployment.wait_for_event("wf", SIGNALED).await;
    assert_eq!(deployment.inbox_length().await, 2);

    deployment.fermata.kill();
    deployment.nats.allow_publish();
    deployment.nats.restart().await;
    deployment.fermata.start_again();
    deployment.fermata.wait_until_ready().await;
    deployment.wait_until_the_inbox_is_empty().await;
    wait_for("both messages counted", SOON, async || {
        let done = deployment.inbox_outcomes("done").await;
        (done >= 2.0).then_some(())
    })
    .await;
    let types = deployment.event_types("wf").await;
    assert_eq!(occurrences(&types, STARTED), 1, "{types:?}");
    assert_eq!(occurrences(&types, SIGNALED), 1, "{types:?}");
    assert_eq!(deployment.count("wf").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_killed_among_many_messages_loses_and_doubles_none() {
    const WORKFLOWS: usize = 150;
    let mut deployment = Deployment::start().await;
    for number in 0..WORKFLOWS {
        deployment.publish(start(&format!("many-{number}"))).await;
        deployment.publish(signal(&format!("many-{number}"))).await;
        if number == WORKFLOWS / 2 {
            deployment.fermata.kill();
            deployment.fermata.start_again();
        }
    }
    deployment.fermata.wait_until_ready().await;
    deployment.wait_until_the_inbox_is_empty().await;
    for number in 0..WORKFLOWS {
        let types = deployment.event_types(&format!("many-{number}")).await;
        assert_eq!(occurrences(&types, STARTED), 1, "{number}: {types:?}");
        assert_eq!(occurrences(&types, SIGNALED), 1, "{number}: {types:?}");
    }
    let wanted = i64::try_from(WORKFLOWS).unwrap();
    wait_for("all runs in lists", SOON, async || {
        (deployment.count("many-").await == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_replicas_share_the_inbox() {
    const WORKFLOWS: usize = 200;
    let deployment = Deployment::start().await;
    let other = Fermata::server("engine", &deployment.nats.url())
        .start()
        .await;
    for number in 0..WORKFLOWS {
        deployment.publish(start(&format!("shared-{number}"))).await;
    }
    deployment.wait_until_the_inbox_is_empty().await;
    wait_for("all runs in lists", SOON, async || {
        (deployment.count("shared-").await == WORKFLOWS as i64).then_some(())
    })
    .await;
    let here = deployment.inbox_outcomes("done").await;
    let there = inbox_outcomes(&other, "done").await;
    // More only if one was delivered twice, as a slow machine may have it.
    assert!(here + there >= WORKFLOWS as f64);
    assert!(here > 0.0 && there > 0.0, "{here} here, {there} there");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_refused_kept_and_told_to_their_senders() {
    let deployment = Deployment::start().await;
    deployment.publish(start("running")).await;
    deployment.wait_for_event("running", STARTED).await;
    let mut told = deployment.client.subscribe("my.refusals").await.unwrap();
    deployment.client.flush().await.unwrap();
    let without_id = json!({"startWorkflowExecution": {"workflowType": {"name": "pay"}}});
    let cases: [(&str, Vec<u8>, &str, &str); 8] = [
        (
            "default",
            b"hello".to_vec(),
            "INVALID_ARGUMENT",
            "read the request",
        ),
        (
            "default",
            b"\x81\xa5start\x80".to_vec(),
            "INVALID_ARGUMENT",
            "unknown variant",
        ),
        (
            "default",
            b"{\"launch\": {}}".to_vec(),
            "INVALID_ARGUMENT",
            "unknown request",
        ),
        (
            "default",
            b"{\"startWorkflowExecution\": {\"id\": 1}}".to_vec(),
            "INVALID_ARGUMENT",
            "unknown field \"id\"",
        ),
        (
            "default",
            without_id.to_string().into(),
            "INVALID_ARGUMENT",
            "WorkflowId is not set",
        ),
        (
            "default",
            start("running").into(),
            "ALREADY_EXISTS",
            "already",
        ),
        ("default", signal("absent").into(), "NOT_FOUND", "absent"),
        (
            "nowhere",
            start("wf").into(),
            "NOT_FOUND",
            "Namespace nowhere is not found.",
        ),
    ];
    for (number, (namespace, body, kind, words)) in cases.iter().enumerate() {
        let mut headers = HeaderMap::new();
        headers.insert(REFUSALS_TO_HEADER, "my.refusals");
        headers.insert("Nats-Msg-Id", format!("bad-{number}"));
        deployment
            .jetstream
            .publish_with_headers(
                format!("fm.inbox.{namespace}"),
                headers,
                body.clone().into(),
            )
            .await
            .unwrap()
            .await
            .unwrap();
        let heard = tokio::time::timeout(SOON, told.next())
            .await
            .unwrap()
            .unwrap();
        let refusal: Value = serde_json::from_slice(&heard.payload).unwrap();
        assert_eq!(refusal["kind"], *kind, "{refusal}");
        assert!(
            refusal["message"].as_str().unwrap().contains(words),
            "{refusal}"
        );
        assert_eq!(refusal["requestId"], format!("bad-{number}"));
    }
    // A sender cannot make the engine speak to itself.
    let mut owner = deployment.client.subscribe("fm.rpc.0").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(REFUSALS_TO_HEADER, "fm.rpc.0");
    deployment.publish_with(headers, "nonsense").await;
    // What is good is done between all this.
    deployment.publish(start("good")).await;
    deployment.wait_for_event("good", STARTED).await;
    deployment.wait_until_the_inbox_is_empty().await;
    let silence = tokio::time::timeout(Duration::from_millis(300), async {
        loop {
            let message = owner.next().await.unwrap();
            assert!(!message.payload.starts_with(b"{"), "{message:?}");
        }
    });
    assert!(silence.await.is_err());

    let stream = deployment
        .jetstream
        .get_stream(subjects::REFUSED_STREAM)
        .await
        .unwrap();
    let consumer = stream
        .create_consumer(pull::Config::default())
        .await
        .unwrap();
    let kept: Vec<_> = consumer
        .fetch()
        .max_messages(100)
        .messages()
        .await
        .unwrap()
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(kept.len(), cases.len() + 1);
    for (message, (namespace, body, kind, words)) in kept.iter().zip(&cases) {
        let headers = message.headers.as_ref().unwrap();
        assert_eq!(message.subject.as_str(), format!("fm.refused.{namespace}"));
        assert_eq!(&message.payload[..], &body[..]);
        assert_eq!(headers.get(REFUSAL_KIND_HEADER).unwrap().as_str(), *kind);
        assert!(
            headers
                .get(REFUSAL_HEADER)
                .unwrap()
                .as_str()
                .contains(words),
            "{headers:?}"
        );
        assert_eq!(
            headers.get(SUBJECT_HEADER).unwrap().as_str(),
            format!("fm.inbox.{namespace}")
        );
    }
    let refused = deployment.inbox_outcomes("refused").await;
    assert_eq!(refused, 9.0);
    assert!(
        deployment
            .fermata
            .log()
            .contains("a request of the inbox was refused")
    );
}
