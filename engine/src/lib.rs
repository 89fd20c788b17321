//! Partition owners: log, checkpoint, timers, dispatch and membership over a [`broker`].
//!
//! Deliberately absent: rules (they are `fermata-core`), HTTP and gRPC.
//!
//! Where to read: [`Engine`] (start and stop), `membership` (which partitions are ours), then `partition`: `takeover`, `owner`
//! (the loop), `work` (deciding), `append` (what the log's refusals mean), `checkpoint`.

pub mod broker;
mod clock;
mod engine;
pub mod jetstream;
mod membership;
mod metrics;
mod namespaces;
mod partition;
pub mod record;
pub mod simulated;
pub mod verify;
mod workers;

pub use clock::{Clock, SystemClock};
pub use engine::{Engine, EngineOptions, StartError};
pub use fermata_core::Limits;
pub use membership::owner_of;
