# All set-up is done by the targets themselves; `make` alone lists them.

# A shell that is older than the Rust installation does not have this on its path yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
TARGET := $(or $(CARGO_TARGET_DIR),target)
INFERNO := $(TARGET)/bench

.PHONY: help demo test bench soak kernels build dist fmt

help:
	@echo 'make demo   build, record this machine for 5 s, leave a flame graph and a pprof file, open the viewer'
	@echo 'make build  build target/release/rprof'
	@echo 'make dist   make what people install, into target/dist: a static program, a .deb, an .rpm, a tarball'
	@echo 'make test   all that CI runs: format, lints, documentation, tests'
	@echo 'make bench  cost beside perf and libbpf-tools, as a table and JSON; BENCH=--quick for a first look'
	@echo 'make soak   the agent for ten minutes, with 100 processes a second that come and go'
	@echo 'make kernels KERNELS="vmlinuz ..."  boot other kernels in QEMU and record there; see tests/kernels/README.md'
	@echo 'make fmt    format Rust and C'

demo: build
	@scripts/demo $(TARGET)/release/rprof

build:
	@scripts/setup build
	cargo build --release --locked

dist:
	@scripts/setup dist
	@scripts/dist

test:
	@scripts/setup test
	cargo fmt --all --check
	clang-format --dry-run -Werror $(wildcard bpf/*.[ch] bench/*.c shim/*.[ch])
	shellcheck scripts/* .ci/run tests/kernels/run contrib/debian/*
	shellcheck -s sh contrib/rpm/*
	shellcheck -s dash tests/kernels/init
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	cargo test --locked --workspace
	cd web && npm ci --silent --no-audit --no-fund && npx --no tsc
	RPROF=$(abspath $(TARGET))/debug/rprof node --test web/tests/*.test.js

bench: build
	@scripts/setup bench
	@test -x $(INFERNO)/bin/inferno-flamegraph || CARGO_TARGET_DIR=$(INFERNO)/build \
		cargo install inferno --version 0.12.8 --locked --root $(INFERNO)
	@scripts/root python3 bench/bench.py --rprof $(TARGET)/release/rprof \
		--inferno $(INFERNO)/bin --out $(TARGET)/bench $(BENCH)
	rm -rf $(TARGET)/bench/store
	cargo run --release --locked --example store -- generate $(TARGET)/bench/store
	cargo run --release --locked --example store -- measure $(TARGET)/bench/store
	@scripts/root python3 bench/latency.py --rprof $(TARGET)/release/rprof --out $(TARGET)/bench
	@scripts/root python3 bench/offcpu.py --rprof $(TARGET)/release/rprof --out $(TARGET)/bench
	@scripts/root python3 bench/agent.py --rprof $(TARGET)/release/rprof --out $(TARGET)/bench
	@scripts/root python3 bench/push.py --rprof $(TARGET)/release/rprof --out $(TARGET)/bench
	@scripts/root python3 bench/heap.py --rprof $(TARGET)/release/rprof --out $(TARGET)/bench
	@scripts/root python3 bench/trace.py --rprof $(TARGET)/release/rprof
	@scripts/root python3 bench/probe.py --rprof $(TARGET)/release/rprof
	@cd web && npm ci --silent --no-audit --no-fund
	@scripts/root node bench/viewer.mjs --rprof $(TARGET)/release/rprof

soak:
	@scripts/setup build
	SOAK=600 cargo test --release --locked --test agent -- --exact soak::processes_come_and_go --nocapture

kernels: build
	@tests/kernels/run $(TARGET)/release/rprof $(KERNELS)

fmt:
	@scripts/setup test
	cargo fmt --all
	clang-format -i $(wildcard bpf/*.[ch] bench/*.c shim/*.[ch])
