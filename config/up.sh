#!/usr/bin/env bash
# Runs the suite on its usual ports until Ctrl-C; `make up` builds it first.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/up
data=data
mkdir -p "$data"
. config/running.sh
stop_at_the_end

# Only for this machine: there is no access control here.
start nsqlookupd 4161 "$bin/nsqlookupd" --tcp-address=127.0.0.1:4160 --http-address=127.0.0.1:4161 --broadcast-address=127.0.0.1
start nsqd 4151 "$bin/nsqd" --data-path="$data" --tcp-address=127.0.0.1:4150 --http-address=127.0.0.1:4151 --https-address=127.0.0.1:4152 \
    --lookupd-tcp-address=127.0.0.1:4160 --broadcast-address=127.0.0.1
start nsqadmin 4171 "$bin/nsqadmin" --lookupd-http-address=127.0.0.1:4161 --http-address=127.0.0.1:4171

echo "publishing a message, and receiving it with nsq_tail ..."
post 4151 '/pub?topic=up%23ephemeral' 'hello from nsqd' >/dev/null
"$bin/nsq_tail" --topic='up#ephemeral' --channel='up#ephemeral' -n 1 --nsqd-tcp-address=127.0.0.1:4150 2>>"$data/nsq_tail.log" |
    sed 's/^/    /'

cat <<TXT

The suite runs:

nsqlookupd  tcp 127.0.0.1:4160  http http://127.0.0.1:4161
nsqd        tcp 127.0.0.1:4150  http http://127.0.0.1:4151
nsqadmin    http://127.0.0.1:4171   <- open it in a browser

Messages and logs are in ./$data. Ctrl-C stops everything. In another terminal:

    curl -d 'hello world' 'http://127.0.0.1:4151/pub?topic=test'
    $bin/nsq_tail --topic=test --channel=me -n 1 --lookupd-http-address=127.0.0.1:4161
    curl http://127.0.0.1:4151/stats
TXT
wait
