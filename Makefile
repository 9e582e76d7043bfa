# Everything a newcomer needs. `make` alone explains the targets.

BIN = $(or $(CARGO_TARGET_DIR),target)/release/ringway

# tests wait longer than they work
TEST_THREADS = $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

.DEFAULT_GOAL := help
.PHONY: help deps up test test-faults bench bench-moving ratchet fuzz soak sabotage deny test-tls test-near-cache test-clients test-redis test-suites

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing (redis-server)
	@scripts/install-deps.sh

up: deps ## three local Redis nodes and the proxy in front of them; Ctrl-C stops and cleans up
	cargo build --release --locked --bin ringway
	@exec $(BIN) dev --nodes 3

test: ## formatting, lints, unit, property and end-to-end tests on real redis-servers, instructions per request
	@scripts/install-deps.sh --tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace --locked
	@scripts/bench.sh ratchet

test-tls: deps ## the end-to-end tests with TLS between everybody, but for those of addresses, resets and the order of arrival
	RINGWAY_TEST_TLS=1 cargo test --locked --test e2e -- --skip tls:: --skip tls_files:: --skip faults_network::a11_packets --skip tidy \
		--skip c5_one_client_too_many --skip c8_a_client_that_leaves_while --skip list_tells_every_client \
		--skip kill_closes_those --skip figures_are_those_of_all --skip memory_of_all_nodes_is_one --skip who_has_left_is_not

test-near-cache: deps ## the end-to-end tests with answers kept from the first read on, but for those that count what nodes are asked, or cut one wire
	RINGWAY_TEST_NEAR_CACHE=1 cargo test --locked --test e2e -- --skip reads_again --skip a13_a_long_reply_over_one_megabit \
		--skip a7_errors_of_the_node --skip b3_stray_replies --skip a_cut_wire --skip operators_see_what_is_kept --skip tidy

test-faults: deps ## the faults that take minutes: flapping nodes, sieges, thousands of clients and changes
	cargo test --locked --test e2e -- --ignored --test-threads 1 long_

bench: ## Ringway beside its peers and the kernel's floor, written to docs/bench (needs python3)
	@scripts/bench.sh

bench-moving: ## a node joins and its keys move while clients ask for them: how long, and what clients notice (needs python3)
	@scripts/bench.sh moving

ratchet: ## instructions per request, held against the committed numbers (needs valgrind)
	@scripts/bench.sh ratchet

soak: ## everything at once with all oracles on; MINUTES=n (10)
	MINUTES=$(or $(MINUTES),10) cargo test --release --locked --test e2e -- --ignored --nocapture soak::for_minutes

fuzz: ## libFuzzer on every parser, one minute each; SECONDS=n TARGET=name (needs cargo-fuzz)
	@scripts/fuzz.sh $(or $(SECONDS),60) $(TARGET)

sabotage: deps ## plants bugs into a copy and demands that a test catches each
	@scripts/sabotage.py

deny: ## licences, sources and advisories of all dependencies (needs cargo-deny)
	cargo deny check

test-clients: deps ## real clients, a job queue and a cache library against the proxy (needs python3 and npm)
	@tests/clients/run.sh

test-redis: deps ## Redis's own test suite, unchanged; SUITE=path to its sources (needs tclsh and python3)
	@SUITE="$(SUITE)" tests/redis_suite/run.sh

test-suites: deps ## redis-py's own test suite against plain Redis and against Ringway (needs python3; takes half an hour)
	cargo build --locked --bin ringway
	@python3 tests/suites/redis_py.py --ringway $(or $(CARGO_TARGET_DIR),target)/debug/ringway
