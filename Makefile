# make up     build what it needs and run the suite on its usual ports of 127.0.0.1, with data in ./data; Ctrl-C stops it
# make up-cluster  the same with three replicated nsqd; kills one of them and shows that its message still arrives
# make test   everything that can fail: formatting, lints, docs, unit tests, tests of the built daemons
# make build  the release binaries, in target/release
# make reference  docs/REFERENCE.md again from the programs
# make sim    the simulation of the broker: SEEDS=10000 of them, or SEED=7 alone, with all that it does
# make cluster-sim  the simulation of whole clusters: SEEDS=200 of them, or SEED=7 alone, with the log lines of all nodes
# make kills  the release build killed under load: KILLS=500 times in each of three modes, and ended by SIGTERM as often
# make cluster-faults  the release build of NODES=3 replicated nsqd under FAULTS=200 random faults and mixed traffic, or for
#             MINUTES=30 with a fault EVERY=20 seconds; prints what was lost and repeated, memory, and replicas; SEED=7 repeats a run
# make cluster-drill  all 24 steps of the operations drill on the release build: joins, restarts, kills, lost disks, a lost zone,
#             a lost majority, under load; prints a table
# make cluster-bench   kills of leaders (CLUSTER_KILLS=50), slow links, topics, a node that is behind: how long, and what it costs
# make soak   the release build under mixed traffic for SOAK_MINUTES=30, with its memory, handles and disk every 10 seconds
# make leaks  a million connects and subscribes to the release build, and what it holds before and after
# make fuzz   every parser of foreign bytes, FUZZ_SECONDS=600 each, or TARGET=commands alone: cargo-fuzz and a nightly
#             compiler; make fuzz-minimize brings what was found into the corpora, which make test runs again
# make text   the words, spelling, lines and links of documents and comments; part of make lint
# make pictures  docs/pictures/*.svg from their texts, with Graphviz
# make aarch64  compiles every program for aarch64 too; make aarch64-test runs unit tests there, by qemu
# make deny   what the dependencies are: licences, duplicates, known vulnerabilities; part of make lint
# make dist   an archive of the release build and Debian packages, with checksums, in target/dist
# make bench  all tables and charts of docs/PERFORMANCE.md, measured again; with AGAINST=<path> next to another nsqd,
#             with QUICK=1 in two minutes to target/bench/, with BACKLOG=<messages> as deep a backlog
# make instructions        the core's main loops in callgrind: fails where one takes 10% more than its table says
# make instructions-write  the same, and writes that table again

.PHONY: up up-cluster build-up cluster-faults cluster-drill cluster-bench test build lint sim cluster-sim kills soak leaks bench instructions instructions-write reference dist clean deny text pictures aarch64 aarch64-test fuzz fuzz-minimize

CARGO ?= cargo

# What `up`, `up-cluster` and the tutorial run, in a profile that compiles quickly.
UP_PROGRAMS = nsqlookupd nsqd nsqadmin nsq_tail to_nsq

up: build-up
	@bash config/up.sh

up-cluster: build-up
	@bash config/up-cluster.sh

build-up:
	@bash config/up-build.sh $(UP_PROGRAMS)

build:
	$(CARGO) build --release --locked --workspace --bins --exclude nsq-bench-suite

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	@bash config/text.sh
	@bash config/pictures.sh --check
	@bash config/deny.sh

text:
	@bash config/text.sh

pictures:
	@bash config/pictures.sh

aarch64:
	@bash config/aarch64.sh

aarch64-test:
	@bash config/aarch64.sh --test

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

cluster-sim: SEEDS = 200
cluster-sim:
	CLUSTER_SEEDS=$(SEEDS) CLUSTER_FIRST=$(FIRST) CLUSTER_SEED=$(SEED) $(CARGO) test --locked -p nsq-sim a_cluster_keeps \
	    -- --nocapture

KILLS ?= 500
kills: build
	KILLS=$(KILLS) NSQD=$(CURDIR)/target/release/nsqd $(CARGO) test --locked -p nsq-tests --test faults under_load \
	    -- --nocapture --test-threads=1

FAULTS ?= 200
NODES ?= 3
cluster-faults: build
	CLUSTER_NODES=$(NODES) CLUSTER_FAULTS=$(FAULTS) CLUSTER_MINUTES=$(MINUTES) CLUSTER_FAULT_EVERY=$(EVERY) SEED=$(SEED) \
	    NSQD=$(CURDIR)/target/release/nsqd $(CARGO) test --locked -p nsq-tests --test cluster \
	    random_faults -- --nocapture

cluster-drill: build
	CLUSTER_DRILL=full NSQD=$(CURDIR)/target/release/nsqd $(CARGO) test --locked -p nsq-tests --test cluster \
	    operations_drill -- --nocapture

# One measurement after the other; each prints its lines.
CLUSTER_KILLS ?= 50
CLUSTER_BEHIND_MB ?= 2000
CLUSTER_TOPICS ?= 10000
cluster-bench: build
	CLUSTER_BENCH=1 CLUSTER_KILLS=$(CLUSTER_KILLS) CLUSTER_BEHIND_MB=$(CLUSTER_BEHIND_MB) CLUSTER_TOPICS=$(CLUSTER_TOPICS) \
	    CLUSTER_IDLE_SECONDS=20 NSQD=$(CURDIR)/target/release/nsqd $(CARGO) test --locked -p nsq-tests --test cluster measure \
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
	$(CARGO) build --release --locked -p nsq-bench-suite
	@mkdir -p target/bench
	$(if $(QUICK),cp docs/PERFORMANCE.md target/bench/)
	target/release/bench_suite run --nsqd target/release/nsqd --folder target/bench --results target/bench.jsonl \
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
