//! The NATS side of whoever calls the engine: the api and the workers.
