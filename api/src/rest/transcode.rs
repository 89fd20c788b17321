//! One HTTP request to one gRPC call in process, and back.

use std::convert::Infallible;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use temporalio_protos::google::rpc;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use super::json::{self, Style};
use super::parameters::{query_pairs, set_query, set_variable};
use super::routes::{Found, Route, Routes};
use crate::descriptors;
use crate::error::http_status_of;
use crate::grpc::front::REQUEST_BYTES_MAX;

/// Headers handed to the service as metadata, besides those that start with `temporal-` or `grpc-metadata-`.
const FORWARDED_HEADERS: [&str; 7] = [
    "authorization",
    "authorization-extras",
    "client-name",
    "client-version",
    "grpc-timeout",
    "user-agent",
    "x-forwarded-for",
];

/// Answers the annotated routes by calling a gRPC service `S` in process.
#[derive(Clone)]
pub struct Transcoder<S> {
    service: S,
    routes: std::sync::Arc<Routes>,
}

/// How one caller wants its JSON.
#[derive(Debug, Clone, Copy)]
struct Forms {
    /// Payloads in the request may be plain JSON.
    reads_shorthand: bool,
    answer: Style,
}

impl Forms {
    /// From `?pretty`, `?noPayloadShorthand` and the media types `application/json[+pretty][+no-payload-shorthand]`.
    fn of(headers: &HeaderMap, query: &[(String, String)]) -> Self {
        let has = |header: HeaderName, suffix: &str| {
            let values = headers
                .get_all(header)
                .into_iter()
                .filter_map(|value| value.to_str().ok());
            values
                .into_iter()
                .any(|value| value.contains("json") && value.contains(suffix))
        };
        let asked = |name: &str| query.iter().any(|(known, _)| known == name);
        let reads_shorthand = !has(CONTENT_TYPE, "+no-payload-shorthand");
        let answer = Style {
            pretty: asked("pretty") || has(ACCEPT, "+pretty"),
            shorthand: !asked("noPayloadShorthand") && !has(ACCEPT, "+no-payload-shorthand"),
        };
        Self {
            reads_shorthand,
            answer,
        }
    }
}

impl<S> Transcoder<S>
where
    S: Service<
            Request<tonic::body::Body>,
            Response = Response<tonic::body::Body>,
            Error = Infallible,
        >,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    pub fn new(service: S) -> Self {
        Self {
            service,
            routes: std::sync::Arc::new(Routes::annotated()),
        }
    }

    /// Answers any request; refusals are `google.rpc.Status` as JSON.
    pub async fn answer(&self, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
        let query = query_pairs(request.uri().query().unwrap_or_default());
        let forms = Forms::of(request.headers(), &query);
        match self.try_answer(request, &query, forms).await {
            Ok(text) => json_response(StatusCode::OK, text),
            Err(status) => refusal(&status, forms.answer),
        }
    }

    async fn try_answer(
        &self,
        request: Request<axum::body::Body>,
        query: &[(String, String)],
        forms: Forms,
    ) -> Result<String, Status> {
        let (head, body) = request.into_parts();
        let (route, variables) = match self.routes.find(&head.method, head.uri.path()) {
            Found::Route(route, variables) => (route, variables),
            // Temporal's HTTP API answers so, rather than with 405.
            Found::OtherMethod => return Err(Status::unimplemented("Method Not Allowed")),
            Found::Nothing => return Err(Status::not_found("Not Found")),
        };
        let mut message = read_message(route, body, forms.reads_shorthand).await?;
        for (path, value) in variables {
            set_variable(&mut message, path, &value).map_err(Status::invalid_argument)?;
        }
        if !route.has_body {
            set_query(&mut message, query).map_err(Status::invalid_argument)?;
        }
        let answer = self.call(&route.rpc, &message, &head.headers).await?;
        let answer = DynamicMessage::decode(route.rpc.output(), answer).map_err(|error| {
            Status::internal(format!(
                "decode the answer of {}: {error}",
                route.rpc.name()
            ))
        })?;
        Ok(json::encode(&answer, forms.answer))
    }

    /// Calls a method with an encoded request; gives the encoded answer.
    async fn call(
        &self,
        rpc: &MethodDescriptor,
        message: &DynamicMessage,
        headers: &HeaderMap,
    ) -> Result<Bytes, Status> {
        let mut frame = BytesMut::with_capacity(5 + message.encoded_len());
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
        message
            .encode(&mut frame)
            .map_err(|error| Status::internal(error.to_string()))?;
        let mut request = Request::new(tonic::body::Body::new(http_body_util::Full::new(
            frame.freeze(),
        )));
        *request.method_mut() = Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name())
            .parse()
            .map_err(|_| Status::internal("a method name is a path"))?;
        *request.headers_mut() = forwarded(headers);

        let response = match self.service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        if let Some(status) = Status::from_header_map(&head.headers)
            && status.code() != Code::Ok
        {
            return Err(status);
        }
        let collected = body.collect().await?;
        if let Some(status) = collected.trailers().and_then(Status::from_header_map)
            && status.code() != Code::Ok
        {
            return Err(status);
        }
        let mut bytes = collected.to_bytes();
        if bytes.len() < 5 {
            return Err(Status::internal(format!("{} gave no answer", rpc.name())));
        }
        Ok(bytes.split_off(5))
    }
}

async fn read_message(
    route: &Route,
    body: axum::body::Body,
    shorthand: bool,
) -> Result<DynamicMessage, Status> {
    if !route.has_body {
        return Ok(DynamicMessage::new(route.rpc.input()));
    }
    let bytes = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Status::invalid_argument(format!(
                "http: request body too large: the limit is {REQUEST_BYTES_MAX} bytes"
            )));
        }
        Err(error) => {
            return Err(Status::invalid_argument(format!(
                "read the request body: {error}"
            )));
        }
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Status::invalid_argument("the request body is not UTF-8"))?;
    json::decode(route.rpc.input(), text, shorthand)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The metadata of the call in process.
fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        if FORWARDED_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("temporal-") {
            metadata.append(name, value.clone());
        } else if let Some(Ok(plain)) = name
            .as_str()
            .strip_prefix("grpc-metadata-")
            .map(str::parse::<HeaderName>)
        {
            metadata.append(plain, value.clone());
        }
    }
    metadata
        .entry("client-name")
        .or_insert(HeaderValue::from_static("temporal-server-http"));
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert("te", HeaderValue::from_static("trailers"));
    metadata
}

/// A status as JSON, with the HTTP status that goes with it.
pub(super) fn refusal(status: &Status, style: Style) -> Response<axum::body::Body> {
    let details = rpc::Status::decode(status.details())
        .map(|status| status.details)
        .unwrap_or_default();
    let body = rpc::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details,
    };
    let descriptor = descriptors::pool()
        .get_message_by_name("google.rpc.Status")
        .expect("an embedded message");
    let body =
        DynamicMessage::decode(descriptor, &body.encode_to_vec()[..]).expect("its own bytes");
    let code = StatusCode::from_u16(http_status_of(status.code()))
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(code, json::encode(&body, style));
    if status.code() == Code::Unavailable {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn json_response(code: StatusCode, text: String) -> Response<axum::body::Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
