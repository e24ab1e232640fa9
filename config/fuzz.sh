#!/usr/bin/env bash
# Fuzzes one target after the other, each for FUZZ_SECONDS; TARGET names one, or several. Inputs that are found are
# kept in target/fuzz/<target>, failures in target/fuzz/failures; `make fuzz-minimize` brings what is new into the
# corpora that are checked in.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-600}
root=$PWD
export CARGO_TARGET_DIR=$root/target/fuzz/build
# Files that a start makes and syncs are many: in memory, if there is a place.
if [[ -d /dev/shm ]]; then
    TMPDIR=$(mktemp -d /dev/shm/nsq-fuzz.XXXXXX)
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
fi
targets=${TARGET:-$(cd tests/fuzz/targets && ls | sed 's/\.rs$//')}
mkdir -p target/fuzz/failures

cd tests/fuzz
for target in $targets; do
    cargo +nightly fuzz build --fuzz-dir . "$target"
done
failed=0
for target in $targets; do
    kept=$root/target/fuzz/$target
    mkdir -p "$kept"
    run=(cargo +nightly fuzz run --fuzz-dir . "$target")
    if [[ ${MINIMIZE:-} ]]; then
        smaller=$(mktemp -d "$root/target/fuzz/smaller.XXXXXX")
        "${run[@]}" "$smaller" "corpus/$target" "$kept" -- -merge=1 -max_len="${MAX_LEN:-2048}"
        # What once failed stays, whatever it covers.
        find "corpus/$target" -name 'found-*' -exec cp -t "$smaller" {} +
        rm -rf "corpus/$target"
        mv "$smaller" "corpus/$target"
        continue
    fi
    "${run[@]}" "$kept" "corpus/$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=25 \
        -artifact_prefix="$root/target/fuzz/failures/$target-" || failed=1
done
exit $failed
