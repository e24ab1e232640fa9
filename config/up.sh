#!/usr/bin/env bash
# Runs the suite on its usual ports until Ctrl-C; `make up` builds it first.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=target/release
data=data
mkdir -p "$data"
pids=()

stop() {
    trap - INT TERM EXIT
    echo
    echo "stopping"
    # In reverse, so that nsqd can still say goodbye to nsqlookupd.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
}
trap 'stop; exit 0' INT TERM
trap 'stop' EXIT

# start <name> <port to wait for> <command...>: logs go to data/<name>.log.
start() {
    local name=$1 port=$2
    shift 2
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "port $port is in use already: is another $name running?" >&2
        exit 1
    fi
    "$@" 2>>"$data/$name.log" &
    pids+=($!)
    local pid=$!
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        if ! kill -0 "$pid" 2>/dev/null; then
            echo "$name did not start:" >&2
            tail -n 5 "$data/$name.log" >&2
            exit 1
        fi
        sleep 0.05
    done
}

start nsqlookupd 4161 "$bin/nsqlookupd"
start nsqd 4151 "$bin/nsqd" --data-path="$data" --lookupd-tcp-address=127.0.0.1:4160 --broadcast-address=127.0.0.1

start nsqadmin 4171 "$bin/nsqadmin" --lookupd-http-address=127.0.0.1:4161 --http-address=127.0.0.1:4171

echo "sending a message through nsqd ..."
"$bin/nsq_bench" both --address 127.0.0.1:4150 --topic 'up#ephemeral' --channel 'up#ephemeral' --size 26 --messages 1

cat <<TXT

nsqlookupd  tcp 127.0.0.1:4160  http http://127.0.0.1:4161
nsqd        tcp 127.0.0.1:4150  http http://127.0.0.1:4151
nsqadmin    http://127.0.0.1:4171
data and logs in ./$data; Ctrl-C stops

try:  curl -d 'hello world' 'http://127.0.0.1:4151/pub?topic=test'
      curl 'http://127.0.0.1:4151/stats'
TXT
wait
