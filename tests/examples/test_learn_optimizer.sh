#!/bin/sh
# SPDX-License-Identifier: MIT
# test_learn_optimizer.sh: a rule learned in a few trainings ends lower than it began, says
# who wins before all else, in words and in JSON, and gives the same bits again. Prints TAP.
# Usage: test_learn_optimizer.sh <built learn_optimizer>
set -u
program=$1 failed=0
flags='--steps 40 --window 10 --trainings 30 --held-out 6 --threads 1'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verdict <number> <case> <complaints, empty if none>
verdict() {
    [ -z "$3" ] || failed=1
    echo "$([ -z "$3" ] || echo 'not ')ok $1 - learn_optimizer_$2"
    [ -z "$3" ] || printf '%s\n' "$3" | sed 's/^/# /'
}

# shellcheck disable=SC2086 # a list of words
run() {
    "$program" $flags --json "$work/json" >"$work/$1" 2>"$work/err" || cat "$work/err"
}

echo 1..4
complaints=$(run first)
verdict 1 runs "$complaints"
verdict 2 says_who_wins_first "$(head -n 1 "$work/first" |
    grep -E '^The learned rule (wins|loses) against Adam at T = 40: its loss is' >/dev/null ||
    { echo 'it is not said' && cat "$work/first"; })"
verdict 3 ends_lower_than_it_began "$(sed -n \
    's/.*as \(it begins\|learned\).* loss \([0-9.]*\) .*/\2/p' "$work/first" |
    awk '{ x[NR] = $1 } END { if (NR != 2 || !(x[2] < x[1] - 0.005)) print x[1], x[2] }')"
complaints=$(run again)
verdict 4 gives_the_same_again "$complaints$(cmp "$work/first" "$work/again" 2>&1)"
exit $failed
