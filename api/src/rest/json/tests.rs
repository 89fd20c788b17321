//! Texts and messages of the shapes that callers of Temporal's HTTP API send and get.

use temporalio_protos::temporal::api::common::v1 as common;
use temporalio_protos::temporal::api::workflowservice::v1 as rr;

use super::*;
use crate::descriptors::pool;

const SHORT: Style = Style {
    pretty: false,
    shorthand: true,
};
const FULL: Style = Style {
    pretty: false,
    shorthand: false,
};

fn start(text: &str, shorthand: bool) -> Result<rr::StartWorkflowExecutionRequest, String> {
    let descriptor = pool()
        .get_message_by_name("temporal.api.workflowservice.v1.StartWorkflowExecutionRequest")
        .unwrap();
    let message = decode(descriptor, text, shorthand).map_err(|error| error.to_string())?;
    Ok(message.transcode_to().unwrap())
}

fn payload(encoding: &str, data: &str) -> common::Payload {
    let metadata = [("encoding".to_owned(), encoding.as_bytes().to_vec())].into();
    common::Payload {
        metadata,
        data: data.as_bytes().to_vec(),
        ..Default::default()
    }
}

#[test]
fn plain_values_become_payloads() {
    let request = start(
        r#"{"input": [{"orderId": 7.50}, "x", null, 1.5, true], "memo": {"fields": {"a": null}}}"#,
        true,
    )
    .unwrap();
    let expected = vec![
        payload("json/plain", r#"{"orderId":7.50}"#),
        payload("json/plain", "\"x\""),
        payload("binary/null", ""),
        payload("json/plain", "1.5"),
        payload("json/plain", "true"),
    ];
    assert_eq!(request.input.unwrap().payloads, expected);
    assert_eq!(
        request.memo.unwrap().fields["a"],
        payload("binary/null", "")
    );
}

#[test]
fn full_payloads_are_taken_as_they_stand() {
    let text = r#"{"input": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "MQ"}]}}"#;
    for shorthand in [true, false] {
        assert_eq!(
            start(text, shorthand).unwrap().input.unwrap().payloads,
            vec![payload("json/plain", "1")]
        );
    }
    assert!(
        start(r#"{"input": [1]}"#, false)
            .unwrap_err()
            .contains("unexpected token [")
    );
}

#[test]
fn a_message_type_makes_it_proto_json() {
    let request = start(r#"{"input": [{"_protoMessageType": "a.B", "c": 1}]}"#, true).unwrap();
    let payload = &request.input.unwrap().payloads[0];
    assert_eq!(payload.metadata["encoding"], b"json/protobuf");
    assert_eq!(payload.metadata["messageType"], b"a.B");
    assert_eq!(payload.data, br#"{"c":1}"#);
}

#[test]
fn refusals_name_the_place() {
    let refused = |text: &str| start(text, true).unwrap_err();
    assert_eq!(
        refused(r#"{"colour": "red"}"#),
        r#"temporalproto: (line 1:2): unknown field "colour""#
    );
    assert_eq!(
        refused("{\n  \"workflowRunTimeout\": 5}"),
        "temporalproto: syntax error (line 2:25): unexpected token 5"
    );
    assert_eq!(
        refused(r#"{"workflowType": "Flow"}"#),
        r#"temporalproto: syntax error (line 1:18): unexpected token "Flow""#
    );
    assert_eq!(
        refused(r#"{"workflowIdReusePolicy": "SOMETIMES"}"#),
        r#"temporalproto: (line 1:27): invalid value for enum type: "SOMETIMES""#
    );
    assert_eq!(
        refused(r#"{"workflowRunTimeout": "5"}"#),
        r#"temporalproto: (line 1:24): invalid google.protobuf.Duration value "5""#
    );
    assert_eq!(
        refused(r#"{"identity": 5}"#),
        "temporalproto: (line 1:14): invalid value for string type: 5"
    );
    assert_eq!(
        refused(r#"{"identity": "a", "identity": "b"}"#),
        r#"temporalproto: (line 1:19): duplicate field "identity""#
    );
    assert_eq!(refused(r#"{"workflowType": {"#), "unexpected EOF");
}

#[test]
fn both_spellings_of_a_field_are_known() {
    let request = start(
        r#"{"workflow_run_timeout": "60s", "requestEagerExecution": true, "cronSchedule": null}"#,
        true,
    )
    .unwrap();
    assert_eq!(request.workflow_run_timeout.unwrap().seconds, 60);
    assert!(request.request_eager_execution);
}

#[test]
fn payloads_are_written_short_where_nothing_is_lost() {
    let short = common::Payloads {
        payloads: vec![
            payload("json/plain", r#"{"total": 3}"#),
            payload("binary/null", ""),
        ],
    };
    assert_eq!(encode::encode_typed(&short, SHORT), r#"[{"total":3},null]"#);
    let mixed = common::Payloads {
        payloads: vec![payload("json/plain", "1"), payload("binary/plain", "x")],
    };
    assert_eq!(
        encode::encode_typed(&mixed, SHORT),
        r#"{"payloads":[1,{"metadata":{"encoding":"YmluYXJ5L3BsYWlu"},"data":"eA=="}]}"#
    );
    let mut typed = payload("json/plain", "1");
    typed.metadata.insert("type".to_owned(), b"Int".to_vec());
    assert!(encode::encode_typed(&typed, SHORT).contains("metadata"));
    assert!(encode::encode_typed(&short, FULL).starts_with(r#"{"payloads":[{"metadata""#));
}

#[test]
fn values_are_written_as_proto_json_has_them() {
    let request = rr::StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_run_timeout: Some(prost_wkt_types::Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
        workflow_id_reuse_policy: 3,
        retry_policy: Some(common::RetryPolicy {
            backoff_coefficient: 2.0,
            maximum_attempts: 3,
            ..Default::default()
        }),
        memo: Some(common::Memo::default()),
        ..Default::default()
    };
    let text = concat!(
        r#"{"namespace":"default","workflowRunTimeout":"1.500s","workflowIdReusePolicy":"WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE","#,
        r#""retryPolicy":{"backoffCoefficient":2,"maximumAttempts":3},"memo":{}}"#
    );
    assert_eq!(encode::encode_typed(&request, SHORT), text);
    assert_eq!(start(text, true).unwrap(), request);
    let pretty = encode::encode_typed(
        &common::WorkflowType {
            name: "Flow".to_owned(),
        },
        Style {
            pretty: true,
            shorthand: true,
        },
    );
    assert_eq!(pretty, "{\n  \"name\": \"Flow\"\n}");
}

#[test]
fn details_of_errors_are_written_with_their_type() {
    let detail = temporalio_protos::temporal::api::errordetails::v1::NamespaceNotFoundFailure {
        namespace: "x".to_owned(),
    };
    let any = prost_wkt_types::Any {
        type_url: "type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure"
            .to_owned(),
        value: prost::Message::encode_to_vec(&detail),
    };
    let status = temporalio_protos::google::rpc::Status {
        code: 5,
        message: "gone".to_owned(),
        details: vec![any],
    };
    assert_eq!(
        encode::encode_typed(&status, SHORT),
        r#"{"code":5,"message":"gone","details":[{"@type":"type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure","namespace":"x"}]}"#
    );
}
