//! The time of day, as an argument: the only place in the engine that reads the machine's clock.
//!
//! Waiting goes by `tokio::time`, so that a paused tokio clock moves both in a simulation.

use fermata_proto::time::Timestamp;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_system(std::time::SystemTime::now())
    }
}
