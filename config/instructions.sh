#!/usr/bin/env bash
# Counts the instructions of the core's main loops with callgrind, and compares them with the table that is kept:
# more than 10% above it fails.
#
#   bash config/instructions.sh            compare
#   bash config/instructions.sh --write    write the table again
#
# Each load runs twice, with few rounds and with many; what the two differ by is the load's. The counts repeat to a
# fraction of a percent with one compiler, one set of dependencies and one kind of processor (checksums and copies
# choose their routine by it). rust-version and Cargo.lock pin the first two; a newer compiler is a reason to write the
# table again. What the kernel does is not counted.
set -euo pipefail
cd "$(dirname "$0")/.."
table=tests/data/instructions.tsv
limit=10
few=20
many=100
write=false
case "${1:-}" in
'') ;;
--write) write=true ;;
*) echo "usage: bash config/instructions.sh [--write]" >&2 && exit 2 ;;
esac

if ! command -v valgrind >/dev/null; then
    echo "NO VALGRIND: instructions were not counted, and nothing was compared with $table" >&2
    exit 0
fi

"${CARGO:-cargo}" build --quiet --release --locked -p nsq-core --example instructions
bin=${CARGO_TARGET_DIR:-target}/release/examples/instructions
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder

# count <load> <rounds>: all instructions of that run.
count() {
    local out=$folder/$1.$2
    valgrind --tool=callgrind --callgrind-out-file="$out" "$bin" "$1" "$2" 2>"$out.log" || {
        cat "$out.log" >&2
        return 1
    }
    sed -n 's/^totals: //p' "$out" | grep . || { echo "callgrind counted nothing for $1" >&2; return 1; }
}

loads=$("$bin" list)
new=$folder/table
printf '# load\tinstructions a message\n' >"$new"
failed=false
printf '%-18s %10s %10s %8s\n' load kept now change
while read -r load messages; do
    a=$(count "$load" "$few")
    b=$(count "$load" "$many")
    now=$(awk -v a="$a" -v b="$b" -v n=$(((many - few) * messages)) 'BEGIN { printf "%.1f", (b - a) / n }')
    printf '%s\t%s\n' "$load" "$now" >>"$new"
    kept=$(awk -F'\t' -v load="$load" '$1 == load { print $2 }' "$table" 2>/dev/null || true)
    change=$(awk -v kept="${kept:-0}" -v now="$now" 'BEGIN { print (kept > 0) ? sprintf("%+.1f%%", (now / kept - 1) * 100) : "new" }')
    printf '%-18s %10s %10s %8s\n' "$load" "${kept:--}" "$now" "$change"
    if ! $write && awk -v kept="${kept:-0}" -v now="$now" -v limit=$limit 'BEGIN { exit !(now > kept * (1 + limit / 100)) }'; then
        failed=true
        echo "$load takes ${now} instructions a message, more than $limit% above the ${kept:-0} in $table" >&2
    fi
done <<<"$loads"

if $write; then
    mv "$new" "$table"
    echo "written: $table"
elif $failed; then
    echo "if that is meant, say why in the commit, and: make instructions-write" >&2
    exit 1
fi
