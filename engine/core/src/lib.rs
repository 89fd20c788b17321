//! The rules of durable execution, with no I/O, no clock and no randomness.
