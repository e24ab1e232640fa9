#!/usr/bin/env bash
# Compiles every program for aarch64. With --test, it also runs the unit tests of nsq-protocol, nsq-queue and nsq-core there,
# with qemu (package qemu-user or qemu-user-static).
#
# Needs the target (rustup target add aarch64-unknown-linux-gnu) and a C compiler for it (gcc-aarch64-linux-gnu).
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
compiler=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$compiler CC_aarch64_unknown_linux_gnu=$compiler
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$qemu -L /usr/aarch64-linux-gnu"

if ! [[ -d $(rustc --print sysroot)/lib/rustlib/$target ]] || ! command -v "$compiler" >/dev/null; then
    echo "NO AARCH64: the target or its C compiler is not installed, nothing was compiled for it" >&2
    exit 0
fi
"${CARGO:-cargo}" check --locked --target $target --workspace --bins --exclude nsq-bench-suite
if [[ ${1:-} == --test ]]; then
    if [[ -z $qemu ]]; then
        echo "NO QEMU: the unit tests were not run on aarch64" >&2
        exit 0
    fi
    "${CARGO:-cargo}" test --locked --target $target -p nsq-protocol -p nsq-queue -p nsq-core
fi
