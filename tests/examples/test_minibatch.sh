#!/bin/sh
# SPDX-License-Identifier: MIT
# test_minibatch.sh: the page to copy for mini-batches prints what its comment says, in TAP.
# Numbers may differ by a twentieth: floats round as processors do.
# Usage: test_minibatch.sh <built minibatch_bilevel> <repository>
set -u
program=$1 root=$2 failed=0
source=$root/examples/first/05_minibatch_bilevel.c
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verdict <number> <case> <complaints, empty if none>
verdict() {
    [ -z "$3" ] || failed=1
    echo "$([ -z "$3" ] || echo 'not ')ok $1 - minibatch_$2"
    [ -z "$3" ] || printf '%s\n' "$3" | sed 's/^/# /'
}

echo 1..3
sed -n 's/^ \*   \(before:\|after:\)/\1/p' "$source" >"$work/said"
"$program" "$root/data/bundled/mnist" >"$work/printed" 2>&1 || echo "exit status $?" >>"$work/printed"
verdict 1 prints_what_it_says "$(paste -d ' ' "$work/said" "$work/printed" | awk '
    NF != 16 { print "not the two lines expected: " $0; next }
    { for (i = 1; i <= 8; i++) {
        off = $i - $(i + 8); if (off < 0) off = -off
        if ($i ~ /^[0-9.]+$/ ? off > 0.001 + $i / 20 : $i != $(i + 8))
            print "expected " $i ", got " $(i + 8) } }')$(
    [ "$(wc -l <"$work/printed")" -eq 2 ] || cat "$work/printed"
)"
"$program" "$work" >"$work/printed" 2>"$work/err"
verdict 2 of_no_data_says_so "$(grep -q 'expected a folder with' "$work/err" || cat "$work/err")"
lines=$(wc -l <"$source")
verdict 3 fits_100_lines "$([ "$lines" -le 100 ] || echo "$lines lines")"
exit $failed
