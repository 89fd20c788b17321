//! Ports for servers of tests.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that a server can come
/// back on its port after a restart although clients have been busy connecting.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// A TCP port of the loopback address that nobody listens on, and that this process hands out only once.
///
/// Another process can still take it first: test processes begin at different places to make that unlikely, and
/// [`crate::NatsServer`] tries another one when it happens.
///
/// # Panics
/// If every port of the range is taken.
pub fn free_port() -> u16 {
    static HANDED_OUT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(211);
    for _ in 0..COUNT {
        let next = begin.wrapping_add(HANDED_OUT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + next % COUNT).expect("the range ends below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_and_given_once() {
        let first = free_port();
        let second = free_port();
        assert_ne!(first, second);
        TcpListener::bind(("127.0.0.1", second)).unwrap();
    }
}
