//! What any NATS client can do with a Fermata: be a worker ([`workers`], [`refusals`]) and publish durable requests ([`inbox`]).
//!
//! Everything runs as real processes: nats-server, `fermata`, and the workers of `examples/nats-workers`.

mod deployment;
mod foreign;
mod inbox;
mod refusals;
mod workers;
