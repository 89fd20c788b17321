//! The NATS side of whoever calls the engine: the api and the workers.
//!
//! [`Transport::connect`] joins a deployment; [`Transport::call`] asks the owner of a workflow id; [`TaskPoller`] takes
//! tasks from a queue and claims them; [`Namespaces`] knows the namespaces.
//!
//! Deliberately absent: rules and storage. Engine replicas do not use this crate.

mod call;
mod connect;
mod driver;
mod namespaces;
mod poller;
mod presence;
mod scaling;
mod source;

pub use connect::{ConnectError, Options, Transport};
pub use namespaces::{Namespaces, PutError};
pub use poller::{Claimant, TaskPoller};
pub use presence::{AnnounceError, AnnouncedWorker, WorkersError};
