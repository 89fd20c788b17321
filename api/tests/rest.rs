//! The REST door over a service that only answers what it was asked.

#![allow(deprecated)]

use std::sync::Arc;

use fermata_api::error::status_of;
use fermata_api::grpc::server::Services;
use fermata_api::ops::{AlwaysReady, Metrics};
use fermata_api::rest::Transcoder;
use fermata_api::stubs::operatorservice::operator_service_server::OperatorService;
use fermata_api::stubs::workflowservice::workflow_service_server::WorkflowService;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::Rejection;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tonic::Status;

struct Echo;

#[tonic::async_trait]
impl WorkflowService for Echo {
    /// Says in the answer what arrived.
    async fn query_workflow(
        &self,
        request: tonic::Request<rr::QueryWorkflowRequest>,
    ) -> Result<tonic::Response<rr::QueryWorkflowResponse>, Status> {
        let query = request.into_inner().query.unwrap_or_default();
        if query.query_type == "unknown" {
            return Err(status_of(Rejection::not_found(
                "workflow not found for ID: wf",
            )));
        }
        Ok(tonic::Response::new(rr::QueryWorkflowResponse {
            query_result: query.query_args,
            ..Default::default()
        }))
    }

    async fn signal_workflow_execution(
        &self,
        request: tonic::Request<rr::SignalWorkflowExecutionRequest>,
    ) -> Result<tonic::Response<rr::SignalWorkflowExecutionResponse>, Status> {
        let client = request
            .metadata()
            .get("client-name")
            .and_then(|name| name.to_str().ok())
            .map(str::to_owned);
        Err(Status::unavailable(format!(
            "{:?} {:?}",
            request.get_ref().signal_name,
            client
        )))
    }
}

#[tonic::async_trait]
impl OperatorService for Echo {}

async fn ask(method: &str, path: &str, body: &str) -> (u16, Value, Response<()>) {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let services = Services::new(
        Arc::new(Echo),
        Arc::new(Echo),
        Arc::new(AlwaysReady),
        metrics.clone(),
    );
    let transcoder = Transcoder::new(services.in_process());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(body.to_owned().into())
        .unwrap();
    let (head, body) = transcoder.answer(request).await.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{bytes:?} is no JSON"));
    assert_eq!(head.headers["content-type"], "application/json");
    (head.status.as_u16(), value, Response::from_parts(head, ()))
}

#[tokio::test]
async fn plain_json_goes_there_and_back() {
    let args = json!([{"city": "Oslo"}, null, 1.5, "x"]);
    let body = json!({"query": {"queryArgs": args}}).to_string();
    let (status, answer, _) = ask(
        "POST",
        "/api/v1/namespaces/default/workflows/a%2Fb/query/state",
        &body,
    )
    .await;
    assert_eq!((status, &answer["queryResult"]), (200, &args));

    let (_, answer, _) = ask(
        "POST",
        "/namespaces/default/workflows/wf/query/state?noPayloadShorthand",
        &body,
    )
    .await;
    let first = &answer["queryResult"]["payloads"][0];
    assert_eq!(first["metadata"]["encoding"], "anNvbi9wbGFpbg==");
}

#[tokio::test]
async fn refusals_are_statuses_with_typed_details() {
    let (status, answer, _) = ask(
        "POST",
        "/api/v1/namespaces/default/workflows/wf/query/unknown",
        "{}",
    )
    .await;
    assert_eq!(status, 404);
    let detail =
        json!({"@type": "type.googleapis.com/temporal.api.errordetails.v1.NotFoundFailure"});
    assert_eq!(
        answer,
        json!({"code": 5, "message": "workflow not found for ID: wf", "details": [detail]})
    );
}

#[tokio::test]
async fn an_unavailable_server_says_when_to_come_back() {
    let (status, answer, response) = ask(
        "POST",
        "/api/v1/namespaces/default/workflows/wf/signal/go",
        "",
    )
    .await;
    assert_eq!((status, &answer["code"]), (503, &json!(14)));
    assert_eq!(answer["message"], r#""go" Some("temporal-server-http")"#);
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn what_cannot_be_routed_or_read() {
    let path = "/api/v1/namespaces/default/workflows/wf";
    for (method, path, body, expected) in [
        (
            "GET",
            "/api/v1/nothing-here",
            "",
            json!({"code": 5, "message": "Not Found"}),
        ),
        (
            "DELETE",
            path,
            "",
            json!({"code": 12, "message": "Method Not Allowed"}),
        ),
        (
            "POST",
            path,
            "{\"workflowType\": {",
            json!({"code": 3, "message": "unexpected EOF"}),
        ),
        (
            "POST",
            path,
            r#"{"colour": "red"}"#,
            json!({"code": 3, "message": "temporalproto: (line 1:2): unknown field \"colour\""}),
        ),
    ] {
        let (_, answer, _) = ask(method, path, body).await;
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let (status, answer, _) = ask("GET", "/api/v1/system-info", "").await;
    assert_eq!((status, &answer["code"]), (501, &json!(12)));
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("is not implemented by Fermata")
    );
}
