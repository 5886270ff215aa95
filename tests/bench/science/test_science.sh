#!/bin/sh
# SPDX-License-Identifier: MIT
# test_science.sh: every question of `./dev bench science` can be asked, and has a protocol
# in SCIENCE.md, in TAP. Sizes are so small that answers say nothing.
# Usage: test_science.sh <built program> <SCIENCE.md>
set -u
program=$1 page=$2
n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verdict <case> <complaints, empty if none>
verdict() {
    n=$((n + 1))
    [ -z "$2" ] || failed=1
    echo "$([ -z "$2" ] || echo 'not ')ok $n - science_$1"
    [ -z "$2" ] || printf '%s\n' "$2" | sed 's/^/# /'
}

names=$("$program" | awk '/^  [a-z]/ && $1 != "all" { print $1 }')
for name in $names; do
    "$program" "$name" --quick --seeds 2 >"$work/out" 2>"$work/err"
    status=$?
    verdict "$name" "$(
        [ $status = 0 ] || { echo "exit status $status" && tail -n 5 "$work/err"; }
        head -n 1 "$work/out" | grep -q "^## $name: " || echo 'no title'
        grep -q '^|---' "$work/out" || echo 'no table'
        tail -n 2 "$work/out" | grep -q "^$name: .* CPU seconds" || echo 'no last line'
    )"
    verdict "${name}_protocol" "$(
        awk -v "name=$name" '/^## / { inside = $2 == name }
            inside && /^### Protocol/ { found = 1 }
            END { exit !found }' "$page" || echo "no protocol in $page"
    )"
done
for flags in nonsense '--seeds' '--seeds 0' '--first 1x'; do
    # shellcheck disable=SC2086 # a flag and its value
    "$program" $flags >"$work/out" 2>"$work/err"
    got=$?
    verdict "refuses_$(echo "$flags" | tr -c 'a-z0-9\n' _)" "$(
        [ $got = 2 ] || echo "exit status $got, not 2"
        grep -q '^usage:' "$work/err" || echo 'no usage'
    )"
done
echo "1..$n"
exit $failed
