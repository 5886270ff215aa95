#!/bin/sh
# SPDX-License-Identifier: MIT
# test_lesson.sh: a lesson prints what is committed beside it, is no longer than it may be,
# refuses what it does not know, and writes its page, in TAP.
# Usage: test_lesson.sh <repository> <built lesson> <name>
set -u
root=$1 program=$2 name=$3 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verdict <number> <case> <complaints, empty if none>
verdict() {
    [ -z "$3" ] || failed=1
    echo "$([ -z "$3" ] || echo 'not ')ok $1 - lesson_${name%%_*}_$2"
    [ -z "$3" ] || printf '%s\n' "$3" | sed 's/^/# /'
}

echo 1..4
"$program" >"$work/printed" 2>&1 || echo "exit status $?" >>"$work/printed"
cp "$work/printed" "$work/first"
verdict 1 prints_what_is_committed \
    "$(diff "$root/examples/learn/expected/${name%%_*}.txt" "$work/printed" 2>&1)"
lines=$(wc -l <"$root/examples/learn/$name.c")
verdict 2 fits_150_lines "$([ "$lines" -le 150 ] || echo "$lines lines")"
"$program" --htlm page >"$work/printed" 2>&1
status=$?
verdict 3 refuses_an_unknown_flag "$(
    if [ $status != 2 ] || ! grep -q '^usage: ' "$work/printed"; then
        echo "exit status $status" && cat "$work/printed"
    fi
)"
"$program" --html "$work/page.html" 2>&1 | diff "$work/first" - >"$work/differs"
verdict 4 writes_its_page "$(
    cat "$work/differs"
    head -c 15 "$work/page.html" | grep -qi '<!doctype html>' || echo 'its beginning is missing'
    tail -n 1 "$work/page.html" | grep -q '</html>' || echo 'its end is missing'
)"
exit $failed
