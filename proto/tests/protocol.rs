//! Messages of `PROTOCOL.md` in the bytes that another language's MessagePack writes (Python's `msgpack.packb`): workers outside
//! of this repository rely on them, so a test that fails here means a new protocol version.

use fermata_proto::codec;
use fermata_proto::common::*;
use fermata_proto::hello::*;
use fermata_proto::inbox::InboxRequest;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

#[track_caller]
fn read<T: DeserializeOwned>(hex: &str) -> T {
    codec::decode(&bytes(hex)).unwrap()
}

#[track_caller]
fn written<T: Serialize>(value: &T, hex: &str) {
    assert_eq!(codec::encode(value)[..], bytes(hex)[..]);
}

/// `{"protocol": 1, "namespace": "default", "task_queue": "orders"}` and the answers.
#[test]
fn hello_and_welcome() {
    let hello: Hello = read(
        "83a870726f746f636f6c01a96e616d657370616365a764656661756c74aa7461736b5f7175657565a66f7264657273",
    );
    let wanted = Hello {
        protocol: 1,
        namespace: "default".to_owned(),
        task_queue: "orders".to_owned(),
    };
    assert_eq!(hello, wanted);
    let welcome: Welcomed = Ok(Welcome {
        protocol: 1,
        namespace_id: "ns".into(),
        stream: "FM_TASKS".to_owned(),
        consumer: "activity-ns-orders".to_owned(),
    });
    written(
        &welcome,
        "81a24f6b84a870726f746f636f6c01ac6e616d6573706163655f6964a26e73a673747265616da8464d5f5441534b53
         a8636f6e73756d6572b261637469766974792d6e732d6f7264657273",
    );
    let refused: Welcomed = Err(Rejection::new(RejectionKind::ProtocolMismatch, "no"));
    written(
        &refused,
        "81a345727283a46b696e64b050726f746f636f6c4d69736d61746368a76d657373616765a26e6fa664657461696cc0",
    );
}

#[test]
fn a_claim() {
    let call: Call = read(
        "84ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a7776169745f6d7300
         a77265717565737481b1436c61696d41637469766974795461736b85a47461736b85ac6e616d6573706163655f6964
         a26e73ab776f726b666c6f775f6964a76f726465722d31a672756e5f6964a372756eb27363686564756c65645f6576
         656e745f696405a7617474656d707401aa7461736b5f717565756581a46e616d65a66f7264657273a86964656e7469
         7479a26d65a8636c61696d5f6964a163a870726f746f636f6c01",
    );
    let claim = ClaimTask {
        task: TaskReference {
            namespace_id: "ns".into(),
            workflow_id: "order-1".into(),
            run_id: "run".to_owned(),
            scheduled_event_id: 5,
            attempt: 1,
            query_id: None,
            stamp: 0,
        },
        task_queue: TaskQueue {
            name: "orders".to_owned(),
            ..TaskQueue::default()
        },
        identity: "me".to_owned(),
        claim_id: "c".to_owned(),
        protocol: 1,
        ..ClaimTask::default()
    };
    assert_eq!(call.request, Request::ClaimActivityTask(Box::new(claim)));
}

/// Without `wait_ms`.
#[test]
fn a_completion() {
    let call: Call = read(
        "83ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a77265717565737481bc
         526573706f6e6441637469766974795461736b436f6d706c6574656481a77265717565737483aa7461736b5f746f6b
         656ec40174a86964656e74697479a26d65a6726573756c7481a87061796c6f6164739182a86d6574616461746181a8
         656e636f64696e67c40a6a736f6e2f706c61696ea464617461c40137",
    );
    let result = Payload {
        metadata: [("encoding".to_owned(), "json/plain".into())].into(),
        data: "7".into(),
        ..Payload::default()
    };
    let completed = CompleteActivity {
        request: RespondActivityTaskCompletedRequest {
            task_token: "t".into(),
            identity: "me".to_owned(),
            result: Some(Payloads {
                payloads: vec![result],
            }),
            ..RespondActivityTaskCompletedRequest::default()
        },
        sticky_queue: None,
    };
    assert_eq!(call.wait_ms, 0);
    assert_eq!(
        call.request,
        Request::RespondActivityTaskCompleted(Box::new(completed))
    );
}

#[test]
fn a_message_of_the_inbox() {
    let hex = "81b75369676e616c576f726b666c6f77457865637574696f6e82b2776f726b666c6f775f657865637574696f6e81
               ab776f726b666c6f775f6964a76f726465722d31ab7369676e616c5f6e616d65a3706179";
    let signal = SignalWorkflowExecutionRequest {
        workflow_execution: Some(WorkflowExecution {
            workflow_id: "order-1".to_owned(),
            run_id: String::new(),
        }),
        signal_name: "pay".to_owned(),
        ..SignalWorkflowExecutionRequest::default()
    };
    let request = InboxRequest::SignalWorkflowExecution(Box::new(signal));
    assert_eq!(read::<InboxRequest>(hex), request);
    written(&request, hex);
}
