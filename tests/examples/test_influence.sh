#!/bin/sh
# SPDX-License-Identifier: MIT
# test_influence.sh: the influence demo, small, as its users meet it, in TAP: what it
# foretells comes true, where it could not it refuses before a query is asked, and a run
# over seeds that is killed goes on to the same numbers.
# Usage: test_influence.sh <built program> <folder of bundled data>
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") bundled=$(cd "$2" && pwd)
data=$bundled/mnist
n=0 failed=0 running=''
work=$(mktemp -d)
trap 'test -z "$running" || kill "$running"; rm -rf "$work"' EXIT
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

# The same of a list.
list() {
    tail -n 1 "$1" | sed -n "s/.*\"$2\":\[\([^]]*\)\].*/\1/p"
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
    above halves 0.95
    above proof_pearson 0.99
    above exact_loo 0.99
    above exact_lds_1 0.9
    above exact_lds_20 0.9
    above exact_lds_1_low 0.5
    differs 'queries to believe' true,true "$(list out query_trusted)"
    above cost_one 1.2
    above cost_of_eight 0.3
    differs lines 1 "$(wc -l <out | tr -d ' ')"
    differs files 'config.json report.html scores.safetensors' "$(cd result && echo *)"
)"
verdict page_shows_each_query_with_what_helped_and_hurt "$(
    tail -n 1 result/report.html | grep -q '</html>' || echo 'report.html is not whole'
    differs queries 2 "$(grep -o 'Test image [0-9]*' result/report.html | sort -u | wc -l | tr -d ' ')"
    differs images 22 "$(grep -o '<i class="g' result/report.html | wc -l | tr -d ' ')"
    differs proofs 4 "$(grep -o '[+-][0-9.]* foretold, [+-][0-9.]* found' result/report.html |
        wc -l | tr -d ' ')"
    differs 'believed one by one' 2 "$(grep -o 'To be believed, S^ of this one' result/report.html |
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

# Two seeds, of which a first sitting is killed after it has saved a part.
seeds() { # <flags>
    "$program" --data "$data" --train 300 --epochs 10 --queries 2 --subsets 8 --budget 1000 \
        --seeds 2 --threads 1 --json "$@" 2>err
}

# What does not depend on the clock.
lasting() {
    sed 's/"cost_one".*//' "$1"
}

seeds --out whole_page >whole
verdict seeds_have_means_and_intervals "$(
    differs 'exit status' 0 $?
    differs seeds_done 2 "$(field whole seeds_done)"
    for key in smooth_outer exact_loo exact_lds_5 implicit_tenth_lds_5 accuracy training_loss; do
        list whole "${key}_seeds" | awk -F, -v key="$key" -v mean="$(field whole "$key")" \
            -v low="$(field whole "${key}_low")" -v high="$(field whole "${key}_high")" '
            function far(a, b) { return (a > b ? a - b : b - a) > 1e-6 * (1 + (b > 0 ? b : -b)) }
            { half = 12.7062 * ($1 > $2 ? $1 - $2 : $2 - $1) / 2 # of two, t = 12.7
              least = mean - half; most = mean + half
              if (key !~ /accuracy|loss/) { # a correlation
                  if (least < -1) least = -1
                  if (most > 1) most = 1
              }
              if (NF != 2 || far(mean, ($1 + $2) / 2) || far(high, most) ||
                  far(low, least)) print key ": " $0 " " mean " " low " " high }'
    done
    grep -q '95 % over seeds from' err || echo 'no intervals on the screen'
    grep -q 'Means over seeds' whole_page/report.html || echo 'no table on the page'
)"
seeds --save state >killed &
running=$!
until [ -s state ] || ! kill -0 $running 2>/dev/null; do sleep 0.05; done
kill -9 $running
wait $running 2>/dev/null
status=$? running=''
seeds --resume state --out resumed_page >resumed
verdict killed_and_resumed_run_finds_the_same "$(
    differs 'exit status of the killed one' 137 "$status"
    lasting whole >a
    lasting resumed >b
    cmp a b 2>&1
    cmp whole_page/scores.safetensors resumed_page/scores.safetensors 2>&1
    for page in whole_page resumed_page; do
        sed '/Trainings, memory and time/,$d' $page/report.html >"$page.top"
    done
    cmp whole_page.top resumed_page.top 2>&1
)"
seeds --resume state --rate 0.02 >out
verdict resume_of_another_run_is_refused "$(
    differs 'exit status' 1 $?
    grep -q 'state: --resume: it is of a run of --rate 0.01, this one is of --rate 0.02' err ||
        echo 'not said'
)"
seeds --resume whole_page/scores.safetensors >out
verdict resume_needs_a_state "$(
    differs 'exit status' 1 $?
    grep -q 'expected a state that influence saved, got another file' err || echo 'not said'
)"
small --epochs 10 --subsets 8 --orders 3 --score-orders 2 --alone
verdict truth_of_other_orders_is_foretold_too "$(
    differs 'exit status' 0 $?
    above exact_loo 0.9
    differs 'controls' null "$(field out tracin_loo)"
    above trainings "$(((8 + 1) * 5 * 3))"
)"
small --subsets 0
verdict scores_alone_take_no_truth "$(
    differs 'exit status' 0 $?
    differs exact_loo null "$(field out exact_loo)"
    above score_cpu_seconds 0.001
)"
"$program" --model convnet --data "$bundled/cifar" --train 200 --epochs 1 --queries 1 --subsets 8 \
    --recipe --anyway --json >out 2>err
verdict convnet_of_photographs_is_asked "$(
    differs 'exit status' 0 $?
    differs model convnet "$(field out model)"
    above exact_loo -1
)"
"$program" --data "$data" --train 500 --queries 0 --json >out 2>err
verdict no_queries_is_to_ask_whether_to_believe "$(
    differs 'exit status' 0 $?
    above smooth_outer 0.99
    differs trainings 4 "$(field out trainings)"
)"
small --recipe
verdict recipe_of_softmax_is_refused "$(
    differs 'exit status' 2 $?
    grep -q -e '--recipe: expected --model mlp or convnet, got softmax' err || echo 'not said'
)"
small --model convnet
verdict convnet_of_digits_is_refused "$(
    differs 'exit status' 1 $?
    grep -q 'expected photographs' err || echo 'not said'
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
