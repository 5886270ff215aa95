#!/bin/sh
# SPDX-License-Identifier: MIT
# test_own_rule.sh: the page to copy for an update rule: its rule passes the check, which
# says where it is flat, is short, and trains about as well as Adam. Prints TAP.
# Usage: test_own_rule.sh <built own_rule> <repository>
set -u
program=$1 source=$2/examples/own_rule.c failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verdict <number> <case> <complaints, empty if none>
verdict() {
    [ -z "$3" ] || failed=1
    echo "$([ -z "$3" ] || echo 'not ')ok $1 - own_rule_$2"
    [ -z "$3" ] || printf '%s\n' "$3" | sed 's/^/# /'
}

echo 1..4
"$program" "$2/data/bundled/mnist" >"$work/out" 2>&1 || echo "exit status $?" >>"$work/out"
verdict 1 passes "$(grep -q '^the rule is right$' "$work/out" || cat "$work/out")"
verdict 2 is_told_where_it_is_flat "$(for part in g momentum beta2; do
    grep -q "no hypergradient goes through $part\$" "$work/out" || echo "not of $part"
done)"
verdict 3 trains "$(sed -n 's/.*: lion \([0-9.]*\) %, adam \([0-9.]*\) %/\1 \2/p' "$work/out" |
    awk '{ n++; if (!($1 > 92 && $1 > $2 - 2)) print "lion " $1 ", adam " $2 }
         END { if (n != 1) print "no accuracies" }')"
lines=$(sed -n '/Edit 1 of 3/,/Edit 3 of 3/p' "$source" | sed '$d' | grep -c .)
verdict 4 is_40_lines_at_most "$([ "$lines" -le 40 ] || echo "$lines lines")"
exit $failed
