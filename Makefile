# make demo: everything from nothing: builds, starts Fermata and its workers, breaks things, shows the result, stops.
# make demo-python: the quick start of Temporal's Python SDK, from nothing.
# make test: everything CI runs.

.PHONY: demo demo-python examples getting-started test check build unit crash wire wire-replicas compat compose web-ui sim bench bench-peers
export CARGO_TERM_COLOR ?= never

demo: build
	FERMATA_NATS_SERVER="$$(scripts/nats-server)" scripts/demo

demo-python:
	cargo build --bin fermata
	tests/compat/demo-python

# Every process of docs/examples.md once, against a fresh server.
examples: build
	FERMATA_NATS_SERVER="$$(scripts/nats-server)" scripts/examples

# Does what docs/getting-started.md says, in a fresh folder.
getting-started: build
	python3 -m unittest discover --quiet -s tests/getting-started
	python3 tests/getting-started/play.py --binaries target/debug --nats-server "$$(scripts/nats-server)" --target target/getting-started

build:
	cargo build --workspace --bins

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

unit: build
	FERMATA_NATS_SERVER="$$(scripts/nats-server)" FERMATA_BIN="$(CURDIR)/target/debug/fermata" cargo test --workspace

# 500 workflows while everything is killed; part of unit too. SEED=<number> repeats the choice of faults.
crash: build
	FERMATA_NATS_SERVER="$$(scripts/nats-server)" FERMATA_BIN="$(CURDIR)/target/debug/fermata" cargo test -p fermata-crash-tests -- --nocapture

# The wire scenarios against one process, and against three engine replicas.
wire: build
	tests/wire/play

wire-replicas: build
	tests/wire/play --replicas 3

# Temporal's own SDKs: the quick start, cases in Python and TypeScript, a mixed fleet, crashes. PARTS="python crash" plays some.
compat: build
	tests/compat/play $(PARTS)

# The docker-compose stack from nothing, scaled under load. As root on Debian it installs and starts docker if there is none.
compose: build
	python3 -m unittest discover --quiet -s tests/compose
	python3 tests/compose/play.py --binaries target/debug --nats-server "$$(scripts/nats-server)"

# Temporal's own web UI against Fermata in a real browser. Needs Go, chromium and chromedriver; not part of test.
web-ui: build
	tests/web-ui/play --fermata target/debug/fermata --target target/web-ui --pictures target/web-ui/pictures

test: check unit examples getting-started wire wire-replicas compat compose

# A thousand seeds of the simulation; make test plays a hundred. SEED=7 make sim plays one.
SEEDS ?= 1000
sim:
	SEEDS=$(SEEDS) cargo test -p fermata-engine --test simulation -- --nocapture

# Measures this machine; results in target/bench/results.jsonl. Arguments by BENCH, such as BENCH="ten_step --rounds 1".
bench:
	cargo build --release --bin fermata --bin fermata-bench
	FERMATA_NATS_SERVER="$$(scripts/nats-server)" FERMATA_BIN=target/release/fermata target/release/fermata-bench $(BENCH)

# The same steps on Restate, round by round in turn with Fermata.
bench-peers:
	cargo build --release --bin fermata --bin fermata-bench
	cargo build --release --manifest-path tests/peers/Cargo.toml --target-dir target/peers/target
	FERMATA_NATS_SERVER="$$(scripts/nats-server)" FERMATA_BIN="$(CURDIR)/target/release/fermata" python3 tests/peers/compare.py \
		--bench target/release/fermata-bench --peers target/peers/target/release/fermata-peers $(BENCH)
