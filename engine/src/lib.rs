//! Partition owners: log, checkpoint, timers, dispatch and membership over a [`broker`].
//!
//! Deliberately absent: rules (they are `fermata-core`), HTTP and gRPC.

pub mod broker;
pub mod record;
