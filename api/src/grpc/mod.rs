//! The gRPC door: what every call passes ([`front`]), health ([`health`]) and the listener ([`server`]).

pub mod front;
pub mod health;
pub mod server;
