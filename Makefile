# make up     build and run the suite on its usual ports, with data in ./data; Ctrl-C stops it
# make test   everything that can fail: formatting, lints, docs, unit tests, tests of the built daemons
# make build  the release binaries, in target/release
# make reference  docs/REFERENCE.md anew from the programs
# make bench  the load table, against this build and, with AGAINST=<path>, another nsqd
# make instructions        the core's main loops in callgrind: fails where one takes 10% more than its table says
# make instructions-write  the same, and writes that table anew

.PHONY: up test build lint bench instructions instructions-write reference clean

CARGO ?= cargo

up: build
	@bash config/up.sh

build:
	$(CARGO) build --release --locked --bins

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

test: lint
	$(CARGO) build --workspace --bins --locked
	$(CARGO) test --workspace --locked

bench: build
	@bash config/bench.sh $(AGAINST)

instructions:
	@bash config/instructions.sh

instructions-write:
	@bash config/instructions.sh --write

reference:
	$(CARGO) build --workspace --bins --locked
	WRITE_REFERENCE=1 $(CARGO) test -p nsq-tests --locked --test operating the_reference

clean:
	$(CARGO) clean
