//! The bytes of a log record and of a run's mutable state. They never change: a test that fails here means that logs and
//! checkpoints of older releases would not be read any more.

use std::sync::Arc;

use fermata_core::change::{Change, Fact, Transition};
use fermata_core::run::*;
use fermata_proto::codec;
use fermata_proto::enums::*;
use fermata_proto::event::*;
use fermata_proto::rpc::{ChildWorkflowClosed, Request};
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

const TIME: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn transition(changes: Vec<Change>) -> Transition {
    Transition {
        namespace_id: "ns".into(),
        workflow_id: "order-1".into(),
        run_id: "run".to_owned(),
        creates: false,
        changes,
    }
}

#[test]
fn a_transition_with_an_event() {
    let event = HistoryEvent {
        event_id: 2,
        event_time: Some(TIME),
        attributes: Some(
            TimerFiredEventAttributes {
                timer_id: "t".to_owned(),
                started_event_id: 1,
            }
            .into(),
        ),
        ..HistoryEvent::default()
    };
    pinned(
        &transition(vec![Change::Event(Arc::new(event))]),
        "84ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a672756e5f
         6964a372756ea76368616e6765739181a54576656e7483a86576656e745f696402aa6576656e745f7469
         6d65cf17979cfe362a0000aa6174747269627574657381aa54696d6572466972656482a874696d65725f
         6964a174b0737461727465645f6576656e745f696401",
    );
}

#[test]
fn a_transition_with_facts_of_tasks() {
    let task = WorkflowTask {
        scheduled_event_id: 5,
        attempt: 2,
        queue: TaskQueue {
            name: "tq".to_owned(),
            kind: TaskQueueKind::Normal,
            normal_name: String::new(),
        },
        scheduled_time: TIME,
        start_to_close_timeout: std::time::Duration::from_secs(10),
        ..WorkflowTask::default()
    };
    let sticky = Sticky {
        queue: "sticky".to_owned(),
        schedule_to_start_timeout: std::time::Duration::from_secs(5),
    };
    let progress = ActivityProgress {
        attempt: 1,
        attempt_scheduled_time: TIME,
        started_time: Some(TIME),
        ..ActivityProgress::default()
    };
    let facts = [
        Fact::WorkflowTask(Some(Box::new(task))),
        Fact::WorkflowTask(None),
        Fact::Sticky(Some(sticky)),
        Fact::Activity {
            scheduled_event_id: 5,
            progress: Box::new(progress),
        },
        Fact::CloseRefused(true),
    ];
    pinned(
        &transition(facts.map(Change::Fact).to_vec()),
        "84ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a672756e5f
         6964a372756ea76368616e6765739581a44661637481ac576f726b666c6f775461736b85b27363686564
         756c65645f6576656e745f696405a7617474656d707402a5717565756582a46e616d65a27471a46b696e
         6401ae7363686564756c65645f74696d65cf17979cfe362a0000b673746172745f746f5f636c6f73655f
         74696d656f757482a4736563730aa56e616e6f730081a44661637481ac576f726b666c6f775461736bc0
         81a44661637481a6537469636b7982a57175657565a6737469636b79b97363686564756c655f746f5f73
         746172745f74696d656f757482a47365637305a56e616e6f730081a44661637481a84163746976697479
         82b27363686564756c65645f6576656e745f696405a870726f677265737383a7617474656d707401b661
         7474656d70745f7363686564756c65645f74696d65cf17979cfe362a0000ac737461727465645f74696d
         65cf17979cfe362a000081a44661637481ac436c6f736552656675736564c3",
    );
}

#[test]
fn a_transition_with_facts_of_others() {
    let buffered = BufferedEvent {
        event: HistoryEvent {
            event_time: Some(TIME),
            attributes: Some(WorkflowExecutionSignaledEventAttributes::default().into()),
            ..HistoryEvent::default()
        },
    };
    let entry = OutboxEntry {
        id: 3,
        namespace_id: "ns".into(),
        workflow_id: "parent".into(),
        request: Request::RecordChildWorkflowClosed(Box::new(ChildWorkflowClosed {
            initiated_event_id: 5,
            ..ChildWorkflowClosed::default()
        })),
    };
    let facts = [
        Fact::Child {
            initiated_event_id: 5,
            progress: ChildProgress {
                run_id: "child".to_owned(),
                started_event_id: 6,
                closing: false,
            },
        },
        Fact::Buffered(Box::new(buffered)),
        Fact::Buffer(Vec::new()),
        Fact::RequestId {
            request_id: "r".to_owned(),
            record: RequestIdRecord {
                event_type: EventType::WorkflowExecutionStarted,
                event_id: 1,
            },
        },
        Fact::Outbox(Box::new(entry)),
        Fact::OutboxDone { outbox_id: 3 },
    ];
    pinned(
        &transition(facts.map(Change::Fact).to_vec()),
        "84ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a672756e5f
         6964a372756ea76368616e6765739681a44661637481a54368696c6482b2696e697469617465645f6576
         656e745f696405a870726f677265737382a672756e5f6964a56368696c64b0737461727465645f657665
         6e745f69640681a44661637481a8427566666572656481a56576656e7482aa6576656e745f74696d65cf
         17979cfe362a0000aa6174747269627574657381b9576f726b666c6f77457865637574696f6e5369676e
         616c65648081a44661637481a64275666665729081a44661637481a952657175657374496482aa726571
         756573745f6964a172a67265636f726482aa6576656e745f7479706501a86576656e745f69640181a446
         61637481a64f7574626f7884a2696403ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f
         6964a6706172656e74a77265717565737481b95265636f72644368696c64576f726b666c6f77436c6f73
         656481b2696e697469617465645f6576656e745f69640581a44661637481aa4f7574626f78446f6e6581
         a96f7574626f785f696403",
    );
}

#[test]
fn a_run() {
    let mut run = Run::new("ns".into(), "order-1".into(), "run".to_owned());
    let event = HistoryEvent {
        event_id: 1,
        event_time: Some(TIME),
        attributes: Some(
            WorkflowExecutionStartedEventAttributes {
                workflow_id: "order-1".to_owned(),
                attempt: 1,
                ..WorkflowExecutionStartedEventAttributes::default()
            }
            .into(),
        ),
        ..HistoryEvent::default()
    };
    run.apply(&transition(vec![Change::Event(Arc::new(event))]));
    pinned(
        &run,
        "89ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a672756e5f
         6964a372756ea77374617274656482a7617474656d707401ab776f726b666c6f775f6964a76f72646572
         2d31aa73746172745f74696d65cf17979cfe362a0000a673746174757301ad6e6578745f6576656e745f
         696402ad686973746f72795f627974657362ab7472616e736974696f6e7301",
    );
}

#[test]
fn a_transition_with_facts_of_updates() {
    let request = fermata_proto::update::Request {
        meta: Some(fermata_proto::update::Meta {
            update_id: "u".to_owned(),
            ..fermata_proto::update::Meta::default()
        }),
        ..fermata_proto::update::Request::default()
    };
    let facts = [
        Fact::UpdateAdmitted {
            update_id: "u".to_owned(),
            request: Arc::new(request),
        },
        Fact::UpdatesSent,
        Fact::UpdateGone {
            update_id: "u".to_owned(),
        },
    ];
    pinned(
        &transition(facts.map(Change::Fact).to_vec()),
        "84ac6e616d6573706163655f6964a26e73ab776f726b666c6f775f6964a76f726465722d31a672756e5f
         6964a372756ea76368616e6765739381a44661637481ae55706461746541646d697474656482a9757064
         6174655f6964a175a77265717565737481a46d65746181a97570646174655f6964a17581a446616374ab
         5570646174657353656e7481a44661637481aa557064617465476f6e6581a97570646174655f6964a175",
    );
}

#[test]
fn an_update_of_a_run() {
    let update = fermata_core::update::Update {
        stage: fermata_core::update::Stage::Sent,
        number: 3,
        request: Some(Arc::default()),
        accepted_event_id: 8,
        completed_event_id: 9,
    };
    pinned(
        &update,
        "85a57374616765a453656e74a66e756d62657203a77265717565737480b161636365707465645f657665
         6e745f696408b2636f6d706c657465645f6576656e745f696409",
    );
}
