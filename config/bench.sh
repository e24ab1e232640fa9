#!/usr/bin/env bash
# Runs the load table of nsq_bench against this build and, if given, another nsqd; `make bench` builds first.
#
#   bash config/bench.sh [/path/to/another/nsqd] [extra flags for it, such as --mem-queue-size=10000000]
#
# ROUNDS (3) and MESSAGES (1000000) can be set in the environment. Everything stays on loopback and in a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=target/release
data=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$data"' EXIT

# start <name> <binary> <flags...>: appends name=address,pid to servers.
servers=()
start() {
    local name=$1 binary=$2 log="$data/$1.log"
    shift 2
    mkdir "$data/$name"
    "$binary" --data-path="$data/$name" --tcp-address=127.0.0.1:0 --http-address=127.0.0.1:0 "$@" 2>"$log" &
    local pid=$!
    pids+=("$pid")
    until grep -q 'TCP: listening on' "$log"; do
        kill -0 "$pid" || { cat "$log" >&2; exit 1; }
        sleep 0.05
    done
    servers+=(--server "$name=$(sed -n 's/.*TCP: listening on //p' "$log"),$pid")
}

if [ $# -gt 0 ]; then
    other=$1
    shift
    start other "$other" "${@:---mem-queue-size=10000000}"
fi
start this "$bin/nsqd"
"$bin/nsq_bench" compare "${servers[@]}" --size 200 --rounds "${ROUNDS:-3}" --messages "${MESSAGES:-1000000}"
