//! Runs a real nats-server and Fermata processes for tests
