#!/bin/sh
# SPDX-License-Identifier: MIT
# test_demo.sh: a demo of hyperparameter optimisation, small, as its users meet it, in TAP:
# a verdict first, the learned thing before its control, the files of --out, what --save
# and --resume refuse, and that a run stopped by Ctrl-C, and then killed, goes on to the
# same bits.
# What it claims at its real size is in test_demos.sh.
# Usage: test_demo.sh <name> <built program> <folder of bundled data>
set -u
name=$1 program=$(cd "$(dirname "$2")" && pwd)/$(basename "$2") data=$3/mnist
n=0 failed=0
work=$(mktemp -d)
running=
memory=1M
trusted= # whether its gradient is to be believed; empty: it is near the edge
lower= # what is learned is to lower accuracy
beats= # a control with more loss; empty: the verdict's, in accuracy
trap 'test -z "$running" || kill "$running"; rm -rf "$work"' EXIT
cd "$work" || exit 1

case $name in
tune_penalty)
    flags='--train 100 --validation 300 --inner-steps 40 --outer-steps 30 --grid 8'
    steps=30 learned=weight trusted=true
    keys='no_penalty single class weight joined joined_weight'
    files='config.json metrics.csv penalties.safetensors report.html'
    wrong="--data $3/mnist --train 9000 --validation 1001"
    said='mnist: 10001 images are asked for, there are 10000'
    ;;
tune_schedule)
    flags='--train 1000 --validation 500 --hidden 16 --inner-steps 60'
    steps=5 learned=learned beats=grid trusted=false
    keys='begin grid random learned'
    files='config.json metrics.csv report.html schedule.safetensors'
    wrong="--data $3/mnist --train 9501 --validation 500"
    said='mnist: 10001 images are asked for, there are 10000'
    ;;
rater)
    flags='--train 1000 --pool 600 --held-out 300 --outer-steps 60 --final-steps 60'
    steps=60 learned=rater memory=36M trusted=true
    keys='none random small_loss large_loss density reference rater oracle held_out'
    files='config.json metrics.csv rater.safetensors report.html'
    wrong="--photographs $3/mnist" said="found MNIST's form, train-images-idx3-ubyte.gz"
    ;;
tune_schedule_convnet)
    flags='--model convnet --filters 3 --train 1000 --inner-steps 80'
    flags="$flags --validation 500 --outer-rate 0.3"
    steps=5 learned=learned beats=grid memory=8M data=$3/cifar
    keys='begin grid random learned'
    files='config.json metrics.csv report.html schedule.safetensors'
    wrong="--model convnet --data $3/mnist" said="found MNIST's form, train-images-idx3-ubyte.gz"
    ;;
distill)
    flags='--hidden 16 --inner-steps 10 --outer-steps 300'
    steps=300 learned=distilled trusted=false
    keys='real means distilled'
    files='config.json distilled.safetensors forming.png metrics.csv report.html'
    wrong='--data hundred'
    said='hundred: --data: expected images of 10 classes, got 100'
    mkdir hundred
    head -c 1537000 /dev/zero | tee hundred/train.bin >hundred/test.bin
    ;;
reweight_cifar)
    flags='--inner-steps 40 --outer-steps 6 --outer-rate 0.3'
    steps=6 learned=example memory=20M data=$3/cifar
    keys='plain inverse clean half class example'
    files='config.json metrics.csv report.html weights.safetensors'
    wrong="--data $3/mnist" said="found MNIST's form, train-images-idx3-ubyte.gz"
    ;;
write)
    flags='--train 40 --inner-steps 24 --outer-steps 60'
    steps=60 learned=learned memory=3M
    keys='start digits noise one_step last_steps learned shaken new_start'
    files='config.json message.png metrics.csv pixels.safetensors report.html'
    wrong="--data $3/mnist --train 10001"
    said='mnist: 10001 images are asked for, there are 10000'
    ;;
augment_vit)
    flags='--train 200 --validation 250 --steps 40 --window 2 --outer-rate 0.3'
    steps=20 learned=learned memory=45M data=$3/cifar
    keys='none hand half learned'
    files='config.json metrics.csv report.html strengths.safetensors'
    wrong="--data $3/mnist" said="found MNIST's form, train-images-idx3-ubyte.gz"
    ;;
curate)
    flags='--pool 400 --target 40 --hidden 16 --inner-steps 40 --outer-steps 12'
    flags="$flags --final-steps 60 --starts 2"
    steps=12 learned=learned trusted=true
    keys='pool random skew loss near product target pool_target near_target learned'
    keys="$keys learned_target oracle"
    files='chosen.csv config.json metrics.csv report.html weights.safetensors'
    wrong="--data $3/cifar" said='--data: expected grey images no larger than photographs'
    ;;
poison)
    flags='--train 1000 --validation 500 --clean 200 --inner-steps 60 --outer-steps 15'
    flags="$flags --orders 4"
    steps=15 learned=learned trusted=true lower=yes memory=3M
    keys='clean random ascent labels epoch learned'
    files='changes.safetensors config.json metrics.csv report.html'
    wrong="--data $3/mnist --train 9000 --clean 1000"
    said='mnist: 12000 images are asked for, there are 10000'
    ;;
esac

# verdict <case> <complaints, empty if none>
verdict() {
    n=$((n + 1))
    [ -z "$2" ] || failed=1
    echo "$([ -z "$2" ] || echo 'not ')ok $n - ${name}_$1"
    [ -z "$2" ] || { printf '%s\n' "$2" && head -n 8 err; } | sed 's/^/# /'
}

differs() { # <what> <expected> <got>
    [ "$2" = "$3" ] || echo "$1: expected $2, got $3"
}

# The number or word of a key in the JSON line.
field() {
    tail -n 1 "$1" | sed -n "s/.*\"$2\":\"*\([^,}\"]*\).*/\1/p"
}

small() { # <flags>: stdout to out, stderr to err
    # shellcheck disable=SC2086 # a list of flags
    "$program" $flags --data "$data" --threads 1 "$@" >out 2>err
}

small --json --out result
verdict ends_well "$(differs 'exit status' 0 $?)"
cp out whole
verdict says_the_verdict_before_all_numbers "$(
    differs 'its line' 2 "$(grep -v '^ *[0-9]* %,' err | grep -n '^Verdict: ' | cut -d: -f1)"
    grep -Eq "^Verdict: (learning has won|learning and a control are even|a control has won): " err ||
        echo "no winner is named"
    sed -n '/^Verdict/,/^$/p' err | tr -s '\n ' ' ' | grep -q 'points (+- ' ||
        echo 'no lead is told'
    differs 'lines over 80 columns' '' "$(sed '1,/^Verdict/d' err | grep -E '.{81}')"
)"
verdict learned_beats_its_control "$(
    if [ "$beats" ]; then
        differs 'less loss' yes "$(awk -v l="$(field whole "${learned}_loss")" \
            -v e="$(field whole "${beats}_loss")" 'BEGIN { print (l < e ? "yes" : l " " e) }')"
        exit
    fi
    differs 'two standard errors or more' yes "$(awk -v l="$(field whole lead)" \
        -v e="$(field whole lead_error)" -v lower="$lower" \
        'BEGIN { if (lower) l = -l; print (l > 2 * e && e > 0 ? "yes" : l " " e) }')"
)"
verdict json_has_every_row "$(
    for key in $keys; do
        for what in accuracy trainings; do
            case $(field whole "${key}_$what") in
            [0-9]*) ;;
            *) echo "${key}_$what: expected a number, got '$(field whole "${key}_$what")'" ;;
            esac
        done
    done
    differs outer_steps "$steps" "$(field whole outer_steps)"
    differs interrupted false "$(field whole interrupted)"
)"
verdict report_and_json_say_whether_to_believe_the_gradient "$(
    is=$(field whole trusted)
    [ -z "$trusted" ] || differs trusted "$trusted" "$is"
    case $is in true) said_so='To be believed' ;; *) said_so='Do not trust it' ;; esac
    grep -q "<p>$said_so" result/report.html || echo "the page does not say: $said_so"
    grep -qi "^Gradient: $said_so" err || echo "stderr does not say: $said_so"
    for key in smooth_weights smooth_outer smooth_weights_small training_loss; do
        case $(field whole "$key") in [0-9-]*) ;; *) echo "$key is no number" ;; esac
    done
)"
verdict json_alone_stands_on_stdout "$(differs lines 1 "$(wc -l <whole | tr -d ' ')")"
verdict out_holds_every_file "$(
    differs files "$files" "$(cd result && echo *)"
    differs 'rows of metrics.csv' $((steps + 1)) "$(wc -l <result/metrics.csv | tr -d ' ')"
    tail -n 1 result/report.html | grep -q '</html>' || echo 'report.html is not whole'
    grep -q 'class="verdict' result/report.html || echo 'report.html has no verdict'
)"

# shellcheck disable=SC2086 # a list of flags
"$program" $wrong >out 2>err
verdict data_that_does_not_do_is_refused "$(
    differs 'exit status' 1 $?
    grep -qF -e "$said" err || echo "not said: $said"
)"

small --json --memory "$memory"
verdict less_memory_changes_no_bit "$(
    differs 'exit status' 0 $?
    for key in lead "${learned}_accuracy" "${learned}_loss"; do
        differs "$key" "$(field whole "$key")" "$(field out "$key")"
    done
    differs 'less of it' yes "$(awk -v a="$(field out peak_bytes)" \
        -v b="$(field whole peak_bytes)" 'BEGIN { print (a + 0 < b + 0 ? "yes" : a " " b) }')"
)"

# begin <flags>: a run beside this one, until the state of a step that it made is there
begin() {
    before=$(ls -i state 2>&1)
    # shellcheck disable=SC2086 # a list of flags
    "$program" $flags --data "$data" --threads 1 --json "$@" >out 2>err &
    running=$!
    until [ "$(ls -i state 2>&1)" != "$before" ] || ! kill -0 $running 2>/dev/null; do
        sleep 0.02
    done
}

# end <signal> <status wanted>: false if the run was over by then, which proves nothing
end() {
    kill "-$1" "$running"
    wait $running
    status=$?
    running=
    [ $status = "$2" ]
}

# Ctrl-C in a first sitting, kill -9 in a second.
for _ in 1 2 3 4 5; do
    rm -f state
    begin --save state
    if end INT 130; then
        cp out interrupted && cp err interrupted.err
        begin --resume state
        ! end KILL 137 2>/dev/null || break
    fi
done
verdict interrupt_claims_nothing "$(
    cp interrupted.err err
    differs verdict none "$(field interrupted verdict)"
    differs accuracy null "$(field interrupted "${learned}_accuracy")"
    differs interrupted true "$(field interrupted interrupted)"
    grep -q '^Verdict: none' err || echo 'a verdict of a part'
)"
small --json --save state
verdict save_keeps_an_earlier_file "$(
    differs 'exit status' 1 $?
    grep -q -e '--resume state goes on' err || echo 'no hint'
)"
small --json --seed 2 --resume state
verdict resume_of_another_run_is_refused "$(
    differs 'exit status' 1 $?
    grep -q 'state: --resume: it is of a run of --seed 1, this one is of --seed 2' err ||
        echo 'not said'
)"
differs 'status of the killed one' 137 "$status" >killed
small --json --resume state --out resumed
verdict killed_and_resumed_run_ends_in_the_same_bits "$(
    differs 'exit status' 0 $?
    cat killed
    sed -e 's/"seconds":[^,]*,//' -e 's/"peak_rss_bytes":[^,]*,//' whole >expected
    sed -e 's/"seconds":[^,]*,//' -e 's/"peak_rss_bytes":[^,]*,//' out | cmp expected - 2>&1
    for file in $files; do
        case $file in *.html | config.json) ;; *) cmp "result/$file" "resumed/$file" 2>&1 ;; esac
    done
    sed '/Memory and time/,$d' result/report.html >page
    sed '/Memory and time/,$d' resumed/report.html | cmp page - 2>&1
)"
if [ "$name" = reweight_cifar ]; then
    # 200 photographs, of class 9 three: as the authors' records, a label and 3,072 bytes.
    mkdir uneven
    for i in $(seq 0 199); do
        # shellcheck disable=SC2059 # the byte of the label
        printf "\\$(printf %03o $((i < 3 ? 9 : i % 9)))"
        head -c 3072 /dev/zero
    done >uneven/data_batch_1.bin
    cp uneven/data_batch_1.bin uneven/test_batch.bin
    verdict too_few_clean_images_name_the_flag "$(
        "$program" --data uneven >out 2>err
        differs 'exit status' 1 $?
        grep -q -e '--clean 10: expected fewer than .* got 3 of class 9$' err || cat err
        grep -q 'hint: a smaller --clean, or a larger set in --data' err || echo 'no hint'
        "$program" --data "$data" --clean 400 >out 2>err
        differs 'exit status of all' 1 $?
        grep -q -e '--clean 400: expected fewer than .* got 400 of class 0$' err || cat err
    )"
fi
small --resume result/config.json
verdict resume_needs_a_state "$(
    differs 'exit status' 1 $?
    grep -q 'result/config.json: ' err || echo 'the file is not named'
)"
small --resume "result/$(echo "$files" | tr ' ' '\n' | grep safetensors)"
verdict resume_needs_a_state_of_a_demo "$(
    differs 'exit status' 1 $?
    grep -q "safetensors: --resume: expected a state that ${name%_convnet} saved" err ||
        echo 'not said'
)"
small --resume nothing
verdict resume_needs_a_file "$(
    differs 'exit status' 1 $?
    grep -q 'nothing: --resume: expected a file of an earlier --save' err || echo 'not said'
)"

echo "1..$n"
exit $failed
