//! What every call passes on its way in and out, whichever door it came through.
//!
//! - An unknown service or method is named in the answer.
//! - Texts of the gRPC library that clients act upon are put into the words they know: a request over the size limit is
//!   RESOURCE_EXHAUSTED (SDKs repeat OUT_OF_RANGE for ever, but fail a workflow task on this), and a method that is not built
//!   says so.
//! - Calls are counted by operation and outcome, and timed.

use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::descriptors;
use crate::error;
use crate::ops::Metrics;

/// Largest request in bytes, after decompression: gRPC's own default, as in Temporal.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Wraps a service in [`Front`].
#[derive(Clone)]
pub struct FrontLayer {
    metrics: Metrics,
}

impl FrontLayer {
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, inner: S) -> Front<S> {
        Front {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// The way in and out of every call.
#[derive(Clone)]
pub struct Front<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (service, method) = split(request.uri().path());
        let operation = match known_operation(service, method) {
            Ok(operation) => operation,
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        let full_method = request.uri().path().trim_start_matches('/').to_owned();
        // The service that was polled ready takes the call; its clone waits for the next one.
        let waiting = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, waiting);
        let metrics = self.metrics.clone();
        Box::pin(async move {
            let began = Instant::now();
            let in_flight = metrics.begin(&operation);
            let response = inner.call(request).await?;
            let response = reword(response, &full_method);
            let code = Status::from_header_map(response.headers())
                .map_or(Code::Ok, |status| status.code());
            in_flight.end(error::name_of(code), began.elapsed());
            Ok(response)
        })
    }
}

fn split(path: &str) -> (&str, &str) {
    path.trim_start_matches('/')
        .split_once('/')
        .unwrap_or_default()
}

/// The name to count a call under.
fn known_operation(service: &str, method: &str) -> Result<String, Status> {
    if service.starts_with("grpc.reflection.") {
        return Ok("ServerReflection".to_owned());
    }
    let Some(descriptor) = descriptors::service(service) else {
        return Err(Status::unimplemented(format!("unknown service {service}")));
    };
    if descriptor.methods().any(|known| known.name() == method) {
        Ok(method.to_owned())
    } else {
        Err(Status::unimplemented(format!(
            "unknown method {method} for service {service}"
        )))
    }
}

fn reword(response: Response<Body>, full_method: &str) -> Response<Body> {
    let Some(code) = response.headers().get("grpc-status") else {
        return response;
    };
    if code != "8" && code != "11" && code != "12" {
        return response;
    }
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    let message = status.message();
    if status.code() == Code::OutOfRange && message.contains("message length too large") {
        let size = message
            .split(|c: char| !c.is_ascii_digit())
            .find(|digits| !digits.is_empty());
        let text = match size {
            Some(size) => {
                format!("grpc: received message larger than max ({size} vs. {REQUEST_BYTES_MAX})")
            }
            None => format!("grpc: received message larger than max ({REQUEST_BYTES_MAX})"),
        };
        return Status::resource_exhausted(text).into_http();
    }
    if status.code() == Code::ResourceExhausted && message.contains("while decompressing message") {
        let text = format!(
            "grpc: received message after decompression larger than max {REQUEST_BYTES_MAX}"
        );
        return Status::resource_exhausted(text).into_http();
    }
    if status.code() == Code::Unimplemented && message == "Not yet implemented" {
        return Status::unimplemented(format!("{full_method} is not implemented by Fermata"))
            .into_http();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_calls_are_named() {
        let refused = |path| {
            let (service, method) = split(path);
            known_operation(service, method)
                .unwrap_err()
                .message()
                .to_owned()
        };
        assert_eq!(
            refused("/temporal.api.workflowservice.v1.WorkflowService/NoSuchCall"),
            "unknown method NoSuchCall for service temporal.api.workflowservice.v1.WorkflowService"
        );
        assert_eq!(
            refused("/temporal.api.nothing.v1.Nothing/Call"),
            "unknown service temporal.api.nothing.v1.Nothing"
        );
    }

    #[test]
    fn too_large_a_message_is_told_in_words_that_sdks_know() {
        let status = Status::out_of_range(
            "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
        );
        let response = reword(status.into_http(), "a/B");
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (5000000 vs. 4194304)"
        );
        let status = Status::resource_exhausted(
            "Error decompressing: size limit, of 4194304 bytes, exceeded while decompressing message",
        );
        let response = reword(status.into_http(), "a/B");
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message after decompression larger than max 4194304"
        );
    }
}
