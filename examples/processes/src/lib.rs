//! Business processes to learn from. Each module is one process, its workflow and its activities, and stands for itself:
//!
//! - [`pipeline`]: two tables are copied side by side; a copy that breaks goes on where its last heartbeat was.
//! - [`onboarding`]: a new user has three days for the profile, then is reminded, then handed over.
//! - [`trip`]: flight, hotel and car, or nothing: a saga that cancels in reverse order.
//! - [`batch`]: a child workflow for each customer, a few at a time; one that fails does not stop the others.
//! - [`approval`]: people decide by signal; who does not answer in time is passed over.
//!
//! Each has a binary of its name that starts a worker and a client and plays it: `cargo run -p fermata-examples --bin trip`.
//! The binary `order` plays the larger example in `examples/orders` the same way. What the binaries share is [`play`].
//!
//! `docs/examples.md` shows the code, `tests` the same processes in virtual time, on a real server and replayed.

pub mod approval;
pub mod batch;
pub mod onboarding;
pub mod pipeline;
pub mod play;
pub mod trip;
