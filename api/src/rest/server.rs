//! The HTTP listener: the REST API, its description, and the operator's pages.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use http::{Request, StatusCode};
use tokio::net::TcpListener;
use tower::Service;

use super::{Transcoder, openapi};
use crate::ops::{Metrics, Readiness};

/// The pages that are not part of the API: liveness, readiness, metrics.
pub fn operator_pages(readiness: Arc<dyn Readiness>, metrics: Metrics) -> Router {
    let ready = move || async move {
        let reasons = readiness.not_ready();
        if reasons.is_empty() {
            (StatusCode::OK, "ready\n".to_owned())
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
        }
    };
    let text = move || async move {
        (
            [(CONTENT_TYPE, "text/plain; version=0.0.4")],
            metrics.text(),
        )
    };
    Router::new()
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(text))
}

/// Everything on the HTTP port.
pub fn router<S>(
    transcoder: Transcoder<S>,
    readiness: Arc<dyn Readiness>,
    metrics: Metrics,
) -> Router
where
    S: Service<
            Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = Infallible,
        >,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let answer = |State(transcoder): State<Transcoder<S>>, request: axum::extract::Request| async move {
        transcoder.answer(request).await
    };
    let description =
        || async { ([(CONTENT_TYPE, "application/json")], openapi::document()).into_response() };
    Router::new()
        .route("/openapi.json", get(description))
        .fallback(answer)
        .with_state(transcoder)
        .merge(operator_pages(readiness, metrics))
}

/// Serves until `shutdown`, then until open requests have ended.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    router: Router,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // A head and a body in two writes: without this the second waits for the acknowledgement of the first.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "set TCP_NODELAY on an HTTP connection");
        }
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}
