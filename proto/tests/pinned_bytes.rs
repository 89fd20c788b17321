//! The bytes of records that are stored or sent between versions. They never change: a test that fails here means that old
//! records would not be read any more.

use fermata_proto::codec;
use fermata_proto::common::*;
use fermata_proto::event::*;
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use fermata_proto::taskqueue::TaskQueue;
use fermata_proto::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[track_caller]
fn pinned<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, hex: &str) {
    let bytes = codec::encode(value);
    let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, hex.replace(char::is_whitespace, ""), "{value:?}");
    assert_eq!(&codec::decode::<T>(&bytes).expect("it reads back"), value);
}

fn text(text: &str) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), "json/plain".into())].into(),
        data: text.to_owned().into(),
        ..Payload::default()
    }
}

#[test]
fn a_task_token() {
    let token = TaskToken {
        namespace_id: "ns".into(),
        workflow_id: "order-1".into(),
        run_id: "run".to_owned(),
        scheduled_event_id: 5,
        started_event_id: 6,
        attempt: 1,
        started_time: Some(Timestamp::from_millis(1_700_000_000_000)),
        ..TaskToken::default()
    };
    pinned(
        &token,
        "87ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a672756e5f
         6964a372756eb27363686564756c65645f6576656e745f696405b0737461727465645f6576656e745f69
         6406a7617474656d707401ac737461727465645f74696d65cf17979cfe362a0000",
    );
}

#[test]
fn a_task_reference() {
    let task = TaskReference {
        namespace_id: "ns".into(),
        workflow_id: "order-1".into(),
        run_id: "run".to_owned(),
        scheduled_event_id: 200,
        attempt: 3,
        stamp: 0,
        query_id: None,
    };
    pinned(
        &task,
        "85ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a672756e5f
         6964a372756eb27363686564756c65645f6576656e745f6964ccc8a7617474656d707403",
    );
}

#[test]
fn a_call_that_starts_a_workflow() {
    let request = StartWorkflowExecutionRequest {
        workflow_id: "order-1".to_owned(),
        workflow_type: Some(WorkflowType {
            name: "Order".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "tq".to_owned(),
            ..TaskQueue::default()
        }),
        input: Some(Payloads {
            payloads: vec![text("1")],
        }),
        workflow_run_timeout: Some(std::time::Duration::from_millis(1_500)),
        request_id: "r".to_owned(),
        ..StartWorkflowExecutionRequest::default()
    };
    let call = Call {
        namespace_id: "ns".into(),
        workflow_id: "order-1".into(),
        wait_ms: 10_000,
        request: Request::StartWorkflowExecution(Box::new(request)),
    };
    pinned(
        &call,
        "84ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a777616974
         5f6d73cd2710a77265717565737481b65374617274576f726b666c6f77457865637574696f6e86ab776f
         726b666c6f775f6964a76f726465722d31ad776f726b666c6f775f7479706581a46e616d65a54f726465
         72aa7461736b5f717565756581a46e616d65a27471a5696e70757481a87061796c6f6164739182a86d65
         74616461746181a8656e636f64696e67c40a6a736f6e2f706c61696ea464617461c40131b4776f726b66
         6c6f775f72756e5f74696d656f757482a47365637301a56e616e6f73ce1dcd6500aa726571756573745f
         6964a172",
    );
}

#[test]
fn history_events() {
    let event = HistoryEvent {
        event_id: 7,
        event_time: Some(Timestamp::from_millis(1_700_000_000_000)),
        attributes: Some(
            TimerStartedEventAttributes {
                timer_id: "t".to_owned(),
                start_to_fire_timeout: Some(std::time::Duration::from_secs(3)),
                workflow_task_completed_event_id: 4,
            }
            .into(),
        ),
        ..HistoryEvent::default()
    };
    pinned(
        &event,
        "83a86576656e745f696407aa6576656e745f74696d65cf17979cfe362a0000aa61747472696275746573
         81ac54696d65725374617274656483a874696d65725f6964a174b573746172745f746f5f666972655f74
         696d656f757482a47365637303a56e616e6f7300d920776f726b666c6f775f7461736b5f636f6d706c65
         7465645f6576656e745f696404",
    );
    let event = HistoryEvent {
        event_id: 2,
        event_time: Some(Timestamp::from_millis(1_700_000_000_000)),
        attributes: Some(
            WorkflowTaskScheduledEventAttributes {
                task_queue: Some(TaskQueue {
                    name: "tq".to_owned(),
                    kind: fermata_proto::enums::TaskQueueKind::Normal,
                    normal_name: String::new(),
                }),
                start_to_close_timeout: Some(std::time::Duration::from_secs(10)),
                attempt: 1,
            }
            .into(),
        ),
        ..HistoryEvent::default()
    };
    pinned(
        &event,
        "83a86576656e745f696402aa6576656e745f74696d65cf17979cfe362a0000aa61747472696275746573
         81b5576f726b666c6f775461736b5363686564756c656483aa7461736b5f717565756582a46e616d65a2
         7471a46b696e6401b673746172745f746f5f636c6f73655f74696d656f757482a4736563730aa56e616e
         6f7300a7617474656d707401",
    );
}

#[test]
fn answers() {
    let refused: Answer = Err(Rejection::not_found("workflow not found for ID: nobody"));
    pinned(
        &refused,
        "81a345727283a46b696e64a84e6f74466f756e64a76d657373616765d921776f726b666c6f77206e6f74
         20666f756e6420666f722049443a206e6f626f6479a664657461696c81a84e6f74466f756e6480",
    );
    let done: Answer = Ok(Response::Done);
    pinned(&done, "81a24f6ba4446f6e65");
}
