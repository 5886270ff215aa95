#!/bin/sh
# SPDX-License-Identifier: MIT
# test_influence.sh: the influence demo, small, as its users meet it, in TAP: what it
# foretells comes true, and where it could not it refuses before a query is asked.
# Usage: test_influence.sh <built program> <folder of bundled data>
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") data=$(cd "$2" && pwd)/mnist
n=0 failed=0
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

# The number or word of a key in the JSON line.
field() {
    tail -n 1 "$1" | sed -n "s/.*\"$2\":\"*\([^,}\"]*\).*/\1/p"
}

# above <key> <least>: in out
above() {
    awk -v x="$(field out "$1")" -v least="$2" -v key="$1" 'BEGIN {
        if (x == "" || !(x + 0 >= least)) print key ": expected " least " or more, got " x }'
}

small() { # <flags>: stdout to out, stderr to err
    "$program" --data "$data" --train 500 --budget 1000 --queries 2 --json "$@" >out 2>err
}

small --epochs 40 --subsets 20 --threads 2 --out result
verdict foretells_what_becomes_true "$(
    differs 'exit status' 0 $?
    differs trusted true "$(field out trusted)"
    above smooth_outer 0.99
    above proof_pearson 0.99
    above exact_loo 0.99
    above exact_lds_1 0.9
    above exact_lds_20 0.9
    differs lines 1 "$(wc -l <out | tr -d ' ')"
    differs files 'config.json report.html scores.safetensors' "$(cd result && echo *)"
)"
verdict page_shows_each_query_with_what_helped_and_hurt "$(
    tail -n 1 result/report.html | grep -q '</html>' || echo 'report.html is not whole'
    differs queries 2 "$(grep -o 'Test image [0-9]*' result/report.html | sort -u | wc -l | tr -d ' ')"
    differs images 22 "$(grep -o '<i class="g' result/report.html | wc -l | tr -d ' ')"
    differs proofs 4 "$(grep -o '[+-][0-9.]* foretold, [+-][0-9.]* found' result/report.html |
        wc -l | tr -d ' ')"
)"
verdict controls_foretell_less "$(
    for key in product tracin; do
        above "${key}_lds_5" -1
        differs "$key below the gradient of the training" yes "$(awk \
            -v c="$(field out "${key}_lds_5")" -v e="$(field out exact_lds_5)" \
            'BEGIN { print (c + 0.02 < e ? "yes" : c " " e) }')"
    done
    above implicit_tenth_lds_5 -1
    above implicit_hundredth_lds_5 -1
)"
cp out whole
small --epochs 40 --subsets 20 --threads 1
verdict threads_change_no_truth "$(
    for key in proof_pearson exact_loo exact_lds_1 exact_lds_50; do
        above "$key" "$(awk -v x="$(field whole $key)" 'BEGIN { print x - 1e-3 }')"
    done
)"
small --model relu --epochs 60 --subsets 8 --out doubt
verdict refuses_before_a_query "$(
    differs 'exit status' 0 $?
    differs trusted false "$(field out trusted)"
    differs refused true "$(field out refused)"
    differs queries 0 "$(field out queries)"
    differs exact_lds_1 null "$(field out exact_lds_1)"
    grep -q '^Do not trust it: ' err || echo 'it does not say so'
    grep -q 'Do not trust' doubt/report.html || echo 'the page does not say so'
    grep -q -e '--anyway' err || echo 'no remedy'
)"
small --batch 501
verdict batch_larger_than_the_set_is_refused "$(
    differs 'exit status' 2 $?
    grep -q -e '--batch' err || echo 'the flag is not named'
)"

"$program" --data "$data" --train 10001 >out 2>err
verdict too_many_images_are_refused "$(
    differs 'exit status' 1 $?
    grep -q '10001 images are asked for, there are 10000' err || echo 'not said'
)"

echo "1..$n"
exit $failed
