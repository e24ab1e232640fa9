#!/usr/bin/env bash
# Compiles every program for aarch64; with --test, runs the unit tests of the crates below nsqd's sockets there, by qemu.
#
# Needs the target (rustup target add aarch64-unknown-linux-gnu) and a C compiler for it (gcc-aarch64-linux-gnu).
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
compiler=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$compiler CC_aarch64_unknown_linux_gnu=$compiler
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"

if ! [[ -d $(rustc --print sysroot)/lib/rustlib/$target ]] || ! command -v "$compiler" >/dev/null; then
    echo "NO AARCH64: the target or its C compiler is not installed, nothing was compiled for it" >&2
    exit 0
fi
"${CARGO:-cargo}" check --locked --target $target --workspace --bins --exclude nsq-bench-suite
if [[ ${1:-} == --test ]]; then
    if ! command -v qemu-aarch64 >/dev/null; then
        echo "NO QEMU: the unit tests were not run on aarch64" >&2
        exit 0
    fi
    "${CARGO:-cargo}" test --locked --target $target -p nsq-protocol -p nsq-queue -p nsq-core
fi
