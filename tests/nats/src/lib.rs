//! Tests only: see `tests/nats`.
