#!/usr/bin/env bash
# Builds the programs that `make up` runs: up-build.sh <program...>
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
cargo=${CARGO:-cargo}

# missing <tool> <how to get it>
missing() {
    echo "$1 is not installed: $2" >&2
    exit 1
}
command -v "$cargo" >/dev/null || missing cargo "install Rust with rustup (https://rustup.rs)"
command -v cc >/dev/null || missing "a C compiler" "for instance: apt install build-essential"

if [[ ! -x $target/up/nsqd ]]; then
    echo "building $*"
    echo "The first time this takes about 5 minutes of CPU time: 2 to 3 minutes on two idle cores, less on more."
fi
flags=()
for program in "$@"; do
    flags+=(--package "$program")
done
"$cargo" build --profile up --locked "${flags[@]}"
