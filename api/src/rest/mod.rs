//! The REST door: Temporal's HTTP API.
//!
//! A request finds its method by the annotations ([`routes`]); body ([`json`]), path and query ([`parameters`]) become the protobuf
//! request; the generated gRPC server answers it in process ([`transcode`]); the answer goes back as JSON. [`openapi`] describes
//! it, [`server`] listens. [`result`] is what Temporal's API does not have.

pub mod json;
pub mod openapi;
mod parameters;
pub mod result;
pub mod routes;
pub mod server;
mod transcode;

pub use transcode::Transcoder;
