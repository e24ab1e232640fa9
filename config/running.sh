# Starts and stops programs for up.sh and up-cluster.sh, which set $data: a folder for their logs.
pids=()
declare -A pid_of

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

stop_at_the_end() {
    trap 'stop; exit 0' INT TERM
    trap 'stop' EXIT
}

# start <name> <port to wait for> <command...>: logs go to $data/<name>.log.
start() {
    local name=$1 port=$2
    shift 2
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "port $port is in use already: is another $name running?" >&2
        exit 1
    fi
    "$@" 2>>"$data/$name.log" &
    local pid=$!
    pids+=("$pid")
    pid_of[$name]=$pid
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        if ! kill -0 "$pid" 2>/dev/null; then
            echo "$name did not start:" >&2
            tail -n 5 "$data/$name.log" >&2
            exit 1
        fi
        sleep 0.05
    done
}

# get <port> <path>, post <port> <path> <body>: prints the answer's body, fails unless it is 200.
get() { request "$1" "GET $2 HTTP/1.0" ""; }
post() { request "$1" "POST $2 HTTP/1.0" "$3"; }
request() {
    local line answer
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf '%s\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s' "$2" "${#3}" "$3" >&3
    answer=$(cat <&3)
    exec 3>&-
    line=${answer%%$'\r\n'*}
    [[ $line == *" 200 "* ]] && printf '%s\n' "${answer#*$'\r\n\r\n'}"
}
