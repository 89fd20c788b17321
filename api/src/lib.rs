//! The edge of Fermata: Temporal's gRPC API, the same API as REST, and the pages an operator's tools read.
//!
//! There is one implementation of Temporal's `WorkflowService`. gRPC calls it through tonic ([`grpc`]); REST ([`rest`]) turns JSON
//! into the same protobuf request and calls it through the same generated server, in process. So a rule of the edge is written once.
//!
//! The edge decides nothing about workflows: a handler parses, calls the owner of the partition, and maps the answer.
//!
//! [`nats`] is the door for those who speak NATS only: workers in any language, and requests that are published once and done
//! when an engine runs.
//!
//! Start reading at [`service`] for what each call does, at [`grpc::server`] for what happens to it before a handler sees it, and at
//! [`rest`] for the JSON form. [`visibility`] is the read model behind lists. [`start`](fn@start) ties all together.

mod backlog;
pub mod descriptors;
pub mod error;
pub mod grpc;
pub mod nats;
pub mod ops;
pub mod rest;
pub mod service;
mod start;
pub mod stubs;
pub mod visibility;

pub use start::{Api, ApiOptions, StartError, start};
