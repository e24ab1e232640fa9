#!/usr/bin/env bash
# Checks the text of documents and comments; part of `make lint`.
#
#   documents             lines of at most 120 characters outside tables and verbatim blocks
#                         table cells of at most two sentences
#                         links between documents lead to a file and a heading
#   documents, comments   no word of config/words.txt
#   everything            spelling, by typos (config/typos.toml), where that is installed
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8
failed=false

# complain <what is wrong> <lines "file:number:text">: nothing, if there are no lines.
complain() {
    [[ -z $2 ]] && return
    failed=true
    echo "$1:" >&2
    sed 's/^/  /' <<<"$2" >&2
}

mapfile -t documents < <(git ls-files --cached --others --exclude-standard '*.md' ':!tests/data')
mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.rs' '*.sh' '*.toml' '*.yml' '*.yaml' '*.service' \
    '*.cfg.example' Makefile '*/Dockerfile' '.ci/*')

if ((${#documents[@]} == 0)); then
    echo "NO GIT: without it the documents are not known, and their text was not checked" >&2
    exit 0
fi

# The lines of documents, as "file:number:text"; not those that the benchmark writes.
prose=$(awk '
    FNR == 1 { fenced = measured = 0 }
    /^<!-- bench / { measured = 1 }
    /^<!-- end / { measured = 0 }
    /^[ ]*```/ { fenced = !fenced; next }
    fenced || measured || /^    / || /^[ ]*\|/ || /^\[.*\]: / { next }
    { print FILENAME ":" FNR ":" $0 }' "${documents[@]}")
tables=$(awk '/^[ ]*\|/ { print FILENAME ":" FNR ":" $0 }' "${documents[@]}")
# Comments of whole lines and of the ends of lines.
comments=$(grep -nHE '^[[:space:]]*(//|#[^!\[]|#$)|[;{},)] // ' "${sources[@]}" | sed -E 's|^([^:]*:[0-9]+:).*(//[/!]?.*)$|\1\2|' |
    grep -v '^config/words.txt:')

complain "lines of more than 120 characters" "$(sed -nE '/^[^:]*:[0-9]+:.{121,}$/p' <<<"$prose")"
complain "table cells of more than two sentences" \
    "$(grep -E '^[^|]*\|.*[^|]*[a-z0-9)`"][.?!] +[A-Z`"(][^|]*[a-z0-9)`"][.?!] +[A-Z`"(][^|]*\|' <<<"$tables" || true)"

while IFS=$'\t' read -r word instead unless; do
    [[ $word == '#'* ]] && continue
    found=$(grep -iE "^[^:]*:[0-9]+:(.*[^a-z_-])?($word)([^a-z_-]|$)" <<<"$prose"$'\n'"$tables"$'\n'"$comments" || true)
    [[ -n $unless ]] && found=$(grep -ivE "$unless" <<<"$found" || true)
    complain "\"$word\": write $instead" "$found"
done <config/words.txt

# Links between documents: the file and the heading exist. A heading's anchor is its text in lower case, with dashes for spaces.
anchors=$(awk '
    FNR == 1 { fenced = 0 }
    /^```/ { fenced = !fenced }
    !fenced && /^#+ / {
        sub(/^#+ /, ""); heading = tolower($0); gsub(/[^a-z0-9 _-]/, "", heading); gsub(/ /, "-", heading)
        print FILENAME "#" heading
    }' "${documents[@]}")
broken=$(awk '
    FNR == 1 { fenced = 0 }
    /^```/ { fenced = !fenced }
    !fenced { while (match($0, /\]\([^)]*\)/)) { print FILENAME " " substr($0, RSTART + 2, RLENGTH - 3); $0 = substr($0, RSTART + RLENGTH) } }
    ' "${documents[@]}" | sort -u | while read -r document link; do
    [[ $link == http* ]] && continue
    file=${link%%#*}
    if [[ -z $file ]]; then
        target=$document
    else
        target=$(realpath -m --relative-to=. "$(dirname "$document")/$file")
    fi
    if [[ ! -e $target ]] || { [[ $link == *#* ]] && ! grep -qxF -- "$target#${link#*#}" <<<"$anchors"; }; then
        echo "$document: $link"
    fi
done)
complain "links to nowhere" "$broken"

if command -v typos >/dev/null; then
    typos --config config/typos.toml || failed=true
else
    echo "NO TYPOS: the spelling was not checked (cargo install typos-cli, or pip install typos)" >&2
fi

if $failed; then
    echo "the text of documents or comments is not plain: see above, and CONTRIBUTING.md" >&2
    exit 1
fi
