//! `grpc.health.v1.Health`: serving if the process is ready.

use std::sync::Arc;
use std::time::Duration;

use temporalio_protos::grpc::health::v1::health_check_response::ServingStatus;
use temporalio_protos::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::descriptors::{HEALTH_SERVICE, OPERATOR_SERVICE, WORKFLOW_SERVICE};
use crate::ops::Readiness;
use crate::stubs::health::health_server::Health;

/// How often a watched status is looked at.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// The health service.
pub struct HealthService {
    readiness: Arc<dyn Readiness>,
}

impl HealthService {
    pub fn new(readiness: Arc<dyn Readiness>) -> Self {
        Self { readiness }
    }
}

fn is_known(service: &str) -> bool {
    ["", WORKFLOW_SERVICE, OPERATOR_SERVICE, HEALTH_SERVICE].contains(&service)
}

fn answer(readiness: &dyn Readiness) -> HealthCheckResponse {
    let status = if readiness.not_ready().is_empty() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request.get_ref().service) {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(answer(&*self.readiness)))
    }

    /// The status now, and again whenever it changes; a service nobody knows is SERVICE_UNKNOWN (gRPC health checking protocol).
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<BoxStream<HealthCheckResponse>>, Status> {
        let known = is_known(&request.get_ref().service);
        let readiness = Arc::clone(&self.readiness);
        let changes = futures::stream::unfold(None, move |last: Option<HealthCheckResponse>| {
            let readiness = Arc::clone(&readiness);
            async move {
                loop {
                    let now = if known {
                        answer(&*readiness)
                    } else {
                        HealthCheckResponse {
                            status: ServingStatus::ServiceUnknown.into(),
                        }
                    };
                    if last.as_ref() != Some(&now) {
                        return Some((Ok(now), Some(now)));
                    }
                    tokio::time::sleep(WATCH_PERIOD).await;
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
