# make demo: everything from nothing: builds, starts Fermata and its workers, breaks things, shows the result.
# make test: everything CI runs.

.PHONY: demo test check build unit wire
export CARGO_TERM_COLOR ?= never

build:
	cargo build --workspace --bins

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

unit:
	FERMATA_NATS_SERVER="$$(scripts/nats-server)" cargo test --workspace

wire: build
	tests/wire/play

test: check unit wire
