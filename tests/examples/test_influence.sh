#!/bin/sh
# SPDX-License-Identifier: MIT
# test_influence.sh: what helped and what hurt, small, as its users meet it, in TAP: what
# is foretold is found by training again; where it is not to be believed no query is asked.
# Usage: test_influence.sh <built influence> <folder of bundled data>
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") data=$2/mnist n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# verdict <case> <complaints, empty if none>
verdict() {
    n=$((n + 1))
    [ -z "$2" ] || failed=1
    echo "$([ -z "$2" ] || echo 'not ')ok $n - influence_$1"
    [ -z "$2" ] || { printf '%s\n' "$2" && head -n 8 err; } | sed 's/^/# /'
}

differs() { # <what> <expected> <got>
    [ "$2" = "$3" ] || echo "$1: expected $2, got $3"
}

field() { # <file> <key>
    sed -n "s/.*\"$2\":\"*\([^,}\"]*\).*/\1/p" "$1"
}

at_least() { # <key> <least> <file>
    awk -v l="$2" -v g="$(field "$3" "$1")" 'BEGIN { exit !(g != "" && g + 0 >= l + 0) }' ||
        echo "$1: at least $2, got $(field "$3" "$1")"
}

small() { # <flags>: stdout to out, stderr to err
    "$program" --data "$data" --train 1000 --queries 3 --parts 12 --json "$@" >out 2>err
}

small --epochs 10 --out page
verdict is_foretold_and_found "$(
    differs 'exit status' 0 $?
    differs trusted true "$(field out trusted)"
    at_least smooth_outer 0.95 out
    at_least lds 0.95 out
    at_least alone_pearson 0.99 out
    differs trainings $((3 + 18 + 1 + 12 + 1)) "$(field out trainings)"
    grep -q '^Believe it: S^ of the margins' err || echo 'it is not said'
)"
verdict page_shows_each_query_with_six_images "$(
    tail -n 1 page/report.html | grep -q '</html>' || echo 'report.html is not whole'
    differs queries 3 "$(grep -o 'Test image [0-9]' page/report.html | sort -u | wc -l | tr -d ' ')"
    differs foretold 18 "$(grep -o ': [+-]0\.[0-9]*, [+-]0\.[0-9]*' page/report.html | sort -u | wc -l | tr -d ' ')"
)"
cp out one
small --epochs 10 --threads 1
verdict threads_change_no_correlation "$(
    differs 'exit status' 0 $?
    differs lds "$(field one lds)" "$(field out lds)"
)"
# Learned by heart: what is left out of it is not what a gradient foretells.
small --model mlp --momentum 0.9 --rate 0.1 --epochs 30 --batch 32 --out doubt
verdict of_what_is_not_to_be_believed_no_query_is_asked "$(
    differs 'exit status' 0 $?
    differs trusted false "$(field out trusted)"
    differs lds null "$(field out lds)"
    differs trainings 3 "$(field out trainings)"
    grep -q '^Do not trust it: S^ of the margins' err || echo 'it is not said'
    grep -q 'Do not trust it' doubt/report.html || echo 'not on the page'
)"
"$program" --data "$data" --train 10001 >out 2>err
verdict too_many_images_are_refused "$(
    differs 'exit status' 1 $?
    grep -q '10001 images are asked for, there are 10000' err || echo 'not said'
)"
echo "1..$n"
exit $failed
