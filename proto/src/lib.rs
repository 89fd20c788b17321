//! Fermata's words on the wire and in storage.
//!
//! Temporal's messages are mirrored as our own types under their names ([`event`], [`command`], [`service`] and the
//! modules they refer to): real enums, [`std::time::Duration`], [`time::Timestamp`]; [`wire::Wire`] turns them into the
//! protobuf types of [`pb`] and back without loss. [`rpc`] is what is said to the engine, [`codec`] the MessagePack
//! form of everything, [`subjects`] every NATS name.
//!
//! Deliberately absent: I/O and rules.

// Deprecated fields are carried like all others.
#![allow(deprecated)]

pub mod activity;
pub mod any;
pub mod cluster;
pub mod codec;
pub mod command;
pub mod common;
pub mod deployment;
pub mod enums;
pub mod error_details;
pub mod event;
pub mod failure;
pub mod hello;
pub mod ids;
pub mod inbox;
mod kinds;
pub mod multi_operation;
pub mod namespace;
pub mod payloads;
pub mod presence;
pub mod protocol;
pub mod query;
pub mod replication;
pub mod rpc;
pub mod schedule;
pub mod sdk;
pub mod servers;
pub mod service;
pub mod subjects;
pub mod taskqueue;
pub mod time;
pub mod update;
pub mod visibility;
pub mod wire;
pub mod worker;
pub mod workflow;

/// Temporal's protobuf types.
pub use temporalio_protos::temporal::api as pb;

/// The encoded `FileDescriptorSet` of [`pb`], for JSON and for tests that go through every field.
pub const DESCRIPTORS: &[u8] = include_bytes!(env!("TEMPORAL_DESCRIPTORS"));
