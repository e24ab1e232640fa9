# make up     build and run the suite on its usual ports, with data in ./data; Ctrl-C stops it
# make test   everything that can fail: formatting, lints, docs, unit tests, tests of the built daemons
# make build  the release binaries, in target/release
# make reference  docs/REFERENCE.md anew from the programs
# make sim    the simulation of the broker: SEEDS=10000 of them, or SEED=7 alone, with all that it does
# make kills  the release build killed under load: KILLS=500 times in each of three modes, and ended by SIGTERM as often
# make soak   the release build under mixed traffic for SOAK_MINUTES=30, with its memory, handles and disk every 10 seconds
# make leaks  a million connects and subscribes to the release build, and what it holds before and after
# make fuzz   every parser of foreign bytes, FUZZ_SECONDS=600 each, or TARGET=commands alone: cargo-fuzz and a nightly
#             compiler; make fuzz-minimize brings what was found into the corpora, which make test runs again
# make deny   what the dependencies are: licences, duplicates, known vulnerabilities; part of make lint
# make dist   an archive of the release build and Debian packages, with checksums, in target/dist
# make bench  all tables and charts of docs/PERFORMANCE.md, measured anew; with AGAINST=<path> beside another nsqd,
#             with QUICK=1 in two minutes to target/bench/, with BACKLOG=<messages> as deep a backlog
# make instructions        the core's main loops in callgrind: fails where one takes 10% more than its table says
# make instructions-write  the same, and writes that table anew

.PHONY: up test build lint sim kills soak leaks bench instructions instructions-write reference dist clean deny fuzz fuzz-minimize

CARGO ?= cargo

up: build
	@bash config/up.sh

build:
	$(CARGO) build --release --locked --bins

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	@bash config/deny.sh

deny:
	@bash config/deny.sh

fuzz:
	@bash config/fuzz.sh

fuzz-minimize:
	@MINIMIZE=1 bash config/fuzz.sh

test: lint
	$(CARGO) build --workspace --bins --locked
	$(CARGO) test --workspace --locked

SEEDS ?= 3000
sim:
	SEEDS=$(SEEDS) SEED=$(SEED) $(CARGO) test --locked -p nsq-sim -- --nocapture

KILLS ?= 500
kills: build
	KILLS=$(KILLS) NSQD=$(CURDIR)/target/release/nsqd $(CARGO) test --locked -p nsq-tests --test faults under_load \
	    -- --nocapture --test-threads=1

SOAK_MINUTES ?= 30
soak: build
	SOAK_MINUTES=$(SOAK_MINUTES) NSQD=$(CURDIR)/target/release/nsqd $(CARGO) test --locked -p nsq-tests --test faults soak \
	    -- --nocapture

LEAK_CYCLES ?= 1000000
leaks: build
	LEAK_CYCLES=$(LEAK_CYCLES) NSQD=$(CURDIR)/target/release/nsqd NSQLOOKUPD=$(CURDIR)/target/release/nsqlookupd \
	    $(CARGO) test --locked -p nsq-tests --test hostile leaks -- --nocapture

# In a quick run the page is a copy: docs/PERFORMANCE.md has full runs only.
bench: build
	@mkdir -p target/bench
	$(if $(QUICK),cp docs/PERFORMANCE.md target/bench/)
	target/release/nsq_bench suite --nsqd target/release/nsqd --folder target/bench --results target/bench.jsonl \
	    $(if $(QUICK),--scale 0.05 --document target/bench/PERFORMANCE.md,--document docs/PERFORMANCE.md) \
	    $(if $(AGAINST),--against $(AGAINST)) $(if $(BACKLOG),--backlog $(BACKLOG)) $(BENCH_FLAGS)

instructions:
	@bash config/instructions.sh

instructions-write:
	@bash config/instructions.sh --write

reference:
	$(CARGO) build --workspace --bins --locked
	WRITE_REFERENCE=1 $(CARGO) test -p nsq-tests --locked --test operating the_reference

dist: build
	@bash config/dist.sh

clean:
	$(CARGO) clean
