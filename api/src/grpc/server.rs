//! The gRPC listener: every service with gzip both ways, behind [`Front`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::Layer;

use super::front::{Front, FrontLayer, REQUEST_BYTES_MAX};
use super::health::HealthService;
use crate::descriptors;
use crate::ops::{Metrics, Readiness};
use crate::stubs::health::health_server::HealthServer;
use crate::stubs::operatorservice::operator_service_server::{
    OperatorService, OperatorServiceServer,
};
use crate::stubs::workflowservice::workflow_service_server::{
    WorkflowService, WorkflowServiceServer,
};

/// How often an idle connection is asked whether it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/2 window of a stream and of a connection, in bytes: a large history is sent without waiting for the reader.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Every service, to be called in process or behind a listener.
#[derive(Clone)]
pub struct Services {
    routes: Routes,
    front: FrontLayer,
}

impl Services {
    /// # Panics
    /// If the embedded descriptors are not valid, which the build has checked.
    pub fn new<W, O>(
        workflow: Arc<W>,
        operator: Arc<O>,
        readiness: Arc<dyn Readiness>,
        metrics: Metrics,
    ) -> Self
    where
        W: WorkflowService,
        O: OperatorService,
    {
        // SDKs compress requests from the first call on, so each service must accept gzip.
        let workflow = WorkflowServiceServer::from_arc(workflow)
            .accept_compressed(Gzip)
            .send_compressed(Gzip)
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let operator = OperatorServiceServer::from_arc(operator)
            .accept_compressed(Gzip)
            .send_compressed(Gzip)
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let health = HealthServer::new(HealthService::new(readiness))
            .accept_compressed(Gzip)
            .send_compressed(Gzip);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(descriptors::ENCODED)
        };
        let valid = "the embedded descriptors are valid";
        let routes = Routes::new(workflow)
            .add_service(operator)
            .add_service(health)
            .add_service(reflection().build_v1().expect(valid))
            .add_service(reflection().build_v1alpha().expect(valid))
            .prepare();
        Self {
            routes,
            front: FrontLayer::new(metrics),
        }
    }

    /// The services as one tower service, for calls in process.
    pub fn in_process(&self) -> Front<Routes> {
        self.front.layer(self.routes.clone())
    }

    /// Serves until `shutdown`, then until open calls have ended.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        // Not the builder's tcp_nodelay: that is for listeners the builder opens. An answer is several small writes, and
        // without this the last of them waits 40 ms for the acknowledgement of the first.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .layer(self.front)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming, shutdown)
            .await
    }
}
