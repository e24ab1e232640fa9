#!/usr/bin/env bash
# Checks what the dependencies are: licences, duplicates, sources, and known vulnerabilities where their list can be had.
set -euo pipefail
cd "$(dirname "$0")/.."

# A patch that no version fits any more is left out with a warning only.
if grep -A2 '^name = "base2histogram"' Cargo.lock | grep -q '^source'; then
    echo "Cargo.lock has base2histogram from a registry: crates/base2histogram no longer takes its place" >&2
    exit 1
fi

if ! cargo deny --version >/dev/null 2>&1; then
    echo "NO CARGO-DENY: licences, duplicates and advisories of the dependencies were not checked" >&2
    exit 0
fi
deny=(cargo deny --config config/deny.toml)
"${deny[@]}" check --hide-inclusion-graph bans licenses sources

# The list of advisories lies elsewhere. Where it cannot be had, a copy from before will do.
if ! timeout 60 "${deny[@]}" fetch db >/dev/null 2>&1; then
    deny+=(--offline)
    if ! ls "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/*/ >/dev/null 2>&1; then
        echo "NO ADVISORIES: their list cannot be fetched, and there is no copy of it" >&2
        exit 0
    fi
fi
"${deny[@]}" check --hide-inclusion-graph advisories
