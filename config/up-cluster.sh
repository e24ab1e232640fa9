#!/usr/bin/env bash
# Runs three replicated nsqd with nsqlookupd and nsqadmin until Ctrl-C. Kills one of the three and shows that its message
# still arrives. `make up-cluster` builds them first.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/up
data=data-cluster
# Each node's TCP port, its HTTP port and the port for the other nodes.
tcp=(4150 4250 4350)
http=(4151 4251 4351)
cluster=(4153 4253 4353)
mkdir -p "$data"
. config/running.sh
stop_at_the_end

# start_node <0, 1 or 2>
start_node() {
    local node=$1 folder=$data/nsqd-$1 peer
    local flags=(--data-path="$folder" --tcp-address="127.0.0.1:${tcp[$node]}" --http-address="127.0.0.1:${http[$node]}"
        --lookupd-tcp-address=127.0.0.1:4160 --broadcast-address=127.0.0.1 --cluster-address="127.0.0.1:${cluster[$node]}")
    for peer in "${cluster[@]}"; do
        flags+=(--cluster-peer="127.0.0.1:$peer")
    done
    mkdir -p "$folder"
    start "nsqd-$node" "${http[$node]}" "$bin/nsqd" "${flags[@]}"
}

# until_true <seconds> <what> <command...>
until_true() {
    local seconds=$1 what=$2 deadline=$((SECONDS + $1))
    shift 2
    until "$@" 2>/dev/null; do
        if ((SECONDS > deadline)); then
            echo "$what: not after $seconds seconds; the logs are in $data" >&2
            exit 1
        fi
        sleep 0.2
    done
}

is_ok() { get "$1" /cluster | grep -q '"state": *"ok"'; }
consumed() { [[ $(grep -c . "$data/consumed") -ge $1 ]]; }

# Only for this machine: the nodes trust one another, since their ports are on the loopback interface.
start nsqlookupd 4161 "$bin/nsqlookupd" --tcp-address=127.0.0.1:4160 --http-address=127.0.0.1:4161 --broadcast-address=127.0.0.1
for node in 0 1 2; do
    start_node "$node"
done
start nsqadmin 4171 "$bin/nsqadmin" --lookupd-http-address=127.0.0.1:4161 --http-address=127.0.0.1:4171

echo "waiting until the three nodes are one cluster ..."
for node in 0 1 2; do
    until_true 60 "the cluster is complete" is_ok "${http[$node]}"
done

topic=up-cluster
: >"$data/consumed"
for node in 0 1 2; do
    post "${http[$node]}" "/pub?topic=$topic" "a message that was published to node $node" >/dev/null
    echo "node $node has acknowledged a message"
done

echo "killing node 0 with SIGKILL, before anyone has read its message ..."
kill -KILL "${pid_of[nsqd-0]}"
wait "${pid_of[nsqd-0]}" 2>/dev/null || true

# It asks nsqlookupd for the nodes, as every consumer does, and finds the two that are left.
"$bin/nsq_tail" --topic="$topic" --channel=reader --lookupd-http-address=127.0.0.1:4161 >>"$data/consumed" 2>>"$data/nsq_tail.log" &
reader=$!
pids+=("$reader")
until_true 30 "all three messages arrive" consumed 3
echo "received all three messages from the two nodes that are left:"
sed 's/^/    /' "$data/consumed"

echo "starting node 0 again ..."
start_node 0
until_true 60 "node 0 is a full replica again" is_ok "${http[0]}"
kill -TERM "$reader"

cat <<TXT

The cluster runs:

nsqlookupd  tcp 127.0.0.1:4160  http http://127.0.0.1:4161
nsqd        tcp 127.0.0.1:4150, 4250, 4350   http http://127.0.0.1:4151, 4251, 4351
nsqadmin    http://127.0.0.1:4171   <- open it in a browser

Messages and logs are in ./$data. Ctrl-C stops everything. In another terminal:

    curl 'http://127.0.0.1:4151/cluster'
    curl -d 'hello world' 'http://127.0.0.1:4251/pub?topic=test'
TXT
# A node that is killed by hand does not end the others.
wait "${pid_of[nsqlookupd]}"
