# make up     build and run the suite on its usual ports, with data in ./data; Ctrl-C stops it
# make test   everything that can fail: formatting, lints, docs, unit tests, tests of the built daemons
# make build  the release binaries, in target/release
# make bench  the load table, against this build and, with AGAINST=<path>, another nsqd

.PHONY: up test build lint bench clean

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

clean:
	$(CARGO) clean
