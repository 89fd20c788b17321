//! `GET .../workflows/{id}/result`: what came of a workflow, by one long poll. Not Temporal's: a convenience for callers without
//! an SDK.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fermata_proto::wire::Wire;
use http::header::CONTENT_TYPE;
use prost::{Message, Name};
use prost_reflect::DynamicMessage;
use serde::Deserialize;
use tonic::Status;

use super::json::{self, Style};
use super::transcode::refusal;
use crate::descriptors;
use crate::error::status_of;
use crate::service::{Outcome, Service, Wanted};

/// How long a call waits that does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(20);
/// How long a call waits at most.
const WAIT_MAX: Duration = Duration::from_secs(300);
const STYLE: Style = Style {
    pretty: false,
    shorthand: true,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    wait: Option<String>,
    #[serde(rename = "runId")]
    run_id: String,
}

/// The routes of results.
pub fn router(service: Service) -> Router {
    let answer = |State(service): State<Service>,
                  Path((namespace, workflow_id)): Path<(String, String)>,
                  Query(parameters): Query<Parameters>| async move {
        match answer(&service, namespace, workflow_id, parameters).await {
            Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
            Err(status) => refused(&status),
        }
    };
    Router::new()
        .route(
            "/api/v1/namespaces/{namespace}/workflows/{workflow_id}/result",
            get(answer),
        )
        .route(
            "/namespaces/{namespace}/workflows/{workflow_id}/result",
            get(answer),
        )
        .with_state(service)
}

async fn answer(
    service: &Service,
    namespace: String,
    workflow_id: String,
    parameters: Parameters,
) -> Result<String, Status> {
    let wait = match &parameters.wait {
        Some(text) => duration(text).ok_or_else(|| {
            Status::invalid_argument(format!(
                "wait: {text:?} is no length of time such as 30s or 500ms"
            ))
        })?,
        None => WAIT_DEFAULT,
    };
    let outcome = service
        .result(Wanted {
            namespace,
            workflow_id,
            run_id: parameters.run_id,
            wait: wait.min(WAIT_MAX),
        })
        .await
        .map_err(status_of)?;
    written(outcome)
}

fn refused(status: &Status) -> Response {
    refusal(status, STYLE)
}

/// A number and its unit; seconds without one.
fn duration(text: &str) -> Option<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

/// `{"status": ..., "runId": ..., "result": ...}` or the failure in its place.
fn written(outcome: Outcome) -> Result<String, Status> {
    let mut text = format!(
        "{{\"status\":\"{}\",\"runId\":{}",
        upper(&format!("{:?}", outcome.status)),
        serde_json::Value::from(outcome.run_id)
    );
    if let Some(result) = outcome.result {
        text.push_str(",\"result\":");
        text.push_str(&shown(&result.into_wire())?);
    }
    if let Some(failure) = outcome.failure {
        text.push_str(",\"failure\":");
        text.push_str(&shown(&(*failure).into_wire())?);
    }
    text.push('}');
    Ok(text)
}

fn shown<M: Message + Name>(message: &M) -> Result<String, Status> {
    let name = M::full_name();
    let descriptor = descriptors::pool()
        .get_message_by_name(&name)
        .ok_or_else(|| Status::internal(format!("{name} is not described")))?;
    let message = DynamicMessage::decode(descriptor, &message.encode_to_vec()[..])
        .map_err(|error| Status::internal(format!("decode {name}: {error}")))?;
    Ok(json::encode(&message, STYLE))
}

/// `TimedOut` as `TIMED_OUT`.
fn upper(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use fermata_proto::common::{Payload, Payloads};
    use fermata_proto::enums::WorkflowExecutionStatus;
    use fermata_proto::failure::Failure;

    use super::*;

    #[test]
    fn results_are_plain_json() {
        let payload = Payload {
            metadata: [("encoding".to_owned(), "json/plain".into())].into(),
            data: r#"{"total":3}"#.into(),
            ..Default::default()
        };
        let completed = Outcome {
            status: WorkflowExecutionStatus::Completed,
            run_id: "r".to_owned(),
            result: Some(Payloads {
                payloads: vec![payload],
            }),
            failure: None,
        };
        assert_eq!(
            written(completed).unwrap(),
            r#"{"status":"COMPLETED","runId":"r","result":[{"total":3}]}"#
        );
        let timed_out = Outcome {
            status: WorkflowExecutionStatus::TimedOut,
            run_id: "r".to_owned(),
            result: None,
            failure: Some(Box::new(Failure {
                message: "late".to_owned(),
                ..Default::default()
            })),
        };
        assert_eq!(
            written(timed_out).unwrap(),
            r#"{"status":"TIMED_OUT","runId":"r","failure":{"message":"late"}}"#
        );
    }

    #[test]
    fn waits_have_units() {
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("1.5"), Some(Duration::from_millis(1_500)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("-1s"), None);
    }
}
