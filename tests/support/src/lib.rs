//! Runs the real things that tests need: a nats-server, Fermata processes, and waiting without sleeping.
//!
//! Everything here belongs to the test that made it: own port, own folder, ended by its process id when dropped, and
//! also when the test process itself dies (see [`process`]). What cannot be set up panics with the reason and the end of
//! the log, since a test has nothing better to do with it.
//!
//! Start reading at [`NatsServer`] and [`Fermata`]; both are thin over [`process::Process`].

mod fermata;
mod nats;
mod port;
mod process;
mod wait;

pub use fermata::{Fermata, FermataOptions, fermata_binary};
pub use nats::{NatsOptions, NatsServer, nats_server_program};
pub use port::free_port;
pub use process::Process;
pub use wait::wait_for;
