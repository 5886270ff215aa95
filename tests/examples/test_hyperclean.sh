#!/bin/sh
# SPDX-License-Identifier: MIT
# test_hyperclean.sh: the demo as its users meet it, in TAP: what it refuses and how, what
# it writes, Ctrl-C, and that neither schedule, memory nor threads change its numbers.
# Its claims about MNIST are in test_hyperclean_claims.sh.
# Usage: test_hyperclean.sh <built hyperclean> <bundled MNIST folder>
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
mnist=$2
n=0 failed=0
kept=
work=$(mktemp -d)
running=
trap 'test -z "$running" || kill "$running"; rm -rf "$work"' EXIT
mkdir "$work/folder" && cd "$work/folder" || exit 1
out=$work/out err=$work/err

ok() {
    n=$((n + 1))
    echo "ok $n - $1"
}

# not_ok <case> <why>: and what the program said last
not_ok() {
    n=$((n + 1)) failed=1
    echo "not ok $n - $1"
    printf '%s\n' "$2" | sed 's/^/# /'
    head -n 5 "$err" | sed 's/^/# stderr: /'
}

# verdict <case> <complaints, empty if none>
verdict() {
    if [ -z "$2" ]; then ok "$1"; else not_ok "$1" "$2"; fi
}

differs() { # <what> <expected> <got>
    [ "$2" = "$3" ] || echo "$1: expected $2, got $3"
}

contains() { # <file> <word>...
    contains_file=$1
    shift
    for word in "$@"; do
        grep -qF -e "$word" "$contains_file" || echo "not in ${contains_file##*/}: $word"
    done
}

# The number or word of a key in the JSON line.
field() {
    tail -n 1 "$out" | sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p"
}

# small [flags]: these flags, and those of a small run that are not among them
small() {
    for flag in --train=200 --validation=100 --inner-steps=5 --outer-steps=2 --final-steps=5; do
        case " $* " in
        *" ${flag%=*}"[\ =]*) ;;
        *) set -- "$flag" "$@" ;;
        esac
    done
    "$program" "$@" >"$out" 2>"$err"
}

holds() {
    find . | sort
    find . -type f -exec cksum {} + | sort
}

# The names in a folder, on one line.
listing() {
    (cd "$1" && echo *)
}

# refused <case> <exit status> <decisive words> [flags]: nothing on stdout, and the folder
# holds what it held.
refused() {
    name=$1 status=$2 words=$3
    shift 3
    case " $* " in *' --out '*) ;; *) set -- --out result "$@" ;; esac
    before=$(holds)
    small "$@"
    got=$?
    after=$(holds)
    verdict "hyperclean_$name" "$(
        differs 'exit status' "$status" "$got"
        contains "$err" "$words"
        differs 'bytes on stdout' 0 "$(wc -c <"$out" | tr -d ' ')"
        differs 'the folder' "$before" "$after"
    )"
}

whole() { echo "expected a whole number from $1 to $2, got \"$3\""; }

refused unknown_flag_is_refused 2 'unknown flag --bogus' --bogus
refused misspelt_flag_is_guessed 2 'did you mean --inner-steps?' --inner-step 5
refused stray_word_is_refused 2 'unexpected argument stray' stray
refused two_dashes_alone_are_refused 2 'unexpected argument --' --
refused short_flag_is_refused 2 'unknown flag -j' -j
refused flag_without_value_is_refused 2 '--seed: expected a value' --seed
refused switch_with_value_is_refused 2 '--help: expected no value' --help=yes
refused repeated_flag_is_refused 2 '--rate: expected it once' --rate 1 --rate=1
refused json_empty_name_is_refused 2 '--json: expected the name of a file' --json=
refused json_to_a_device_is_refused_first 1 '/dev/null: --json: expected a file' \
    --out . --json /dev/null
refused json_in_no_folder_is_refused_first 1 'no/such: --json: expected a file' \
    --out . --json no/such
refused seed_of_letters_is_refused 2 'expected a whole number below 2^64, got "x"' --seed x
refused seed_below_zero_is_refused 2 'expected a whole number below 2^64, got "-1"' --seed -1
refused seed_of_2_64_is_refused 2 'below 2^64' --seed 18446744073709551616
refused train_fraction_is_refused 2 "$(whole 1 100000000 1.5)" --train 1.5
refused train_zero_is_refused 2 "$(whole 1 100000000 0)" --train 0
refused train_of_23_digits_is_refused 2 '--train: expected' --train 99999999999999999999999
refused validation_empty_is_refused 2 "$(whole 1 100000000 '')" --validation=
refused threads_absurd_is_refused 2 "$(whole 0 1024 99999)" --threads 99999
refused inner_steps_zero_is_refused 2 "$(whole 1 1000000 0)" --inner-steps 0
refused outer_steps_zero_is_refused 2 "$(whole 1 1000000 0)" --outer-steps 0
refused final_steps_zero_is_refused 2 "$(whole 1 1000000 0)" --final-steps 0
refused corrupt_above_one_is_refused 2 'from 0 to 1, got "1.5"' --corrupt 1.5
refused corrupt_below_zero_is_refused 2 'from 0 to 1, got "-0.1"' --corrupt -0.1
refused corrupt_nan_is_refused 2 'from 0 to 1, got "nan"' --corrupt nan
refused corrupt_with_a_tail_is_refused 2 'from 0 to 1, got "0.5x"' --corrupt 0.5x
refused radius_zero_is_refused 2 'expected a number above 0' --radius 0
refused radius_infinite_is_refused 2 'expected a number above 0' --radius inf
refused rate_beyond_float_is_refused 2 '--rate: expected a number above 0' --rate 1e39
refused schedule_unknown_lists_them 2 'auto, store-all, two-level or revolve' --schedule best
refused memory_unit_unknown_is_refused 2 'a number of bytes, like' --memory 12Q
refused memory_too_small_says_what_would_do 1 'revolve with 1 slot needs' --memory 1000
refused images_more_than_exist_counts_them 1 '14000 images are asked for, there are 10000' --train 9000 \
    --validation 5000
refused data_empty_name_is_refused 2 '--data: expected the name of a folder' --data ''
refused data_folder_missing_says_so 1 \
    'ubyte or train-images-idx3-ubyte.gz, got No such file or directory' \
    --data nowhere
echo text >file
refused data_folder_a_file_says_so 1 'ubyte.gz, got a file' --data file

# The bundled set with one file to be spoiled: <name without .gz>
spoil() {
    rm -rf spoilt
    mkdir spoilt
    for archive in "$mnist"/*.gz; do
        [ "$archive" = "$mnist/$1.gz" ] || ln -s "$archive" spoilt/
    done
}

first_part() { # <file> <bytes>
    dd if="$1" bs="$2" count=1 2>/dev/null
}

spoil t10k-images-idx3-ubyte
refused data_file_missing_names_it 1 \
    't10k-images-idx3-ubyte.gz, got one without' --data spoilt
spoil train-images-idx3-ubyte
first_part "$mnist/train-images-idx3-ubyte.gz" 1000000 >spoilt/train-images-idx3-ubyte.gz
refused data_truncated_gzip_is_refused 1 'offset 1000000: truncated gzip' --data spoilt
first_part "$mnist/train-images-idx3-ubyte.gz" 5000 >spoilt/train-images-idx3-ubyte.gz
refused data_gzip_cannot_hold_the_promise 1 \
    'the header promises u8 (10000, 28, 28), 7840000 bytes; a file of 5000 bytes' \
    --data spoilt
spoil t10k-labels-idx1-ubyte
: >spoilt/t10k-labels-idx1-ubyte.gz
refused data_empty_file_is_refused 1 'offset 0: expected data, got an empty file' --data spoilt
spoil train-labels-idx1-ubyte
labels=spoilt/train-labels-idx1-ubyte
gzip -dc "$mnist/train-labels-idx1-ubyte.gz" >all
first_part all 9000 >$labels
refused data_idx_shorter_than_its_header 1 \
    'the header promises u8 (10000), 10000 bytes; a file of 9000 bytes' --data spoilt
cp all $labels
printf '\013' | dd of=$labels bs=1 seek=20 conv=notrunc 2>/dev/null
refused data_label_out_of_range_names_row 1 'row 12: expected a label in 0..9, got 11' \
    --data spoilt
{ printf '\000\000\010\001\000\000\047\017' && first_part all 10007 | tail -c 9999; } >$labels
refused data_labels_fewer_than_images 1 'expected as many labels as' --data spoilt

# No test image: accuracies would be 0/0.
spoil t10k-images-idx3-ubyte
rm spoilt/t10k-labels-idx1-ubyte.gz
printf '\000\000\010\003\000\000\000\000\000\000\000\034\000\000\000\034' \
    >spoilt/t10k-images-idx3-ubyte
printf '\000\000\010\001\000\000\000\000' >spoilt/t10k-labels-idx1-ubyte
refused data_without_test_images_is_refused 1 'expected test images with pixels, got (0, 28, 28)' \
    --data spoilt
rm -rf spoilt all

refused out_a_file_is_refused 1 'cannot be created: Not a directory' --out file
refused out_below_a_file_is_refused 1 'cannot be made: Not a directory' --out file/result
refused out_below_nothing_is_refused 1 'cannot be made: No such file' --out no/such/result
refused out_empty_name_is_refused 2 '--out: expected the name of a folder' --out ''
if [ "$(id -u)" = 0 ]; then
    ok 'hyperclean_out_not_writable_is_refused # SKIP root may write anywhere'
else
    mkdir locked
    chmod 500 locked
    refused out_not_writable_is_refused 1 'cannot be created: Permission denied' --out locked
fi

# Divergence is a result, met while computing: --out is an empty folder by then.
diverged() { # <case> <extended regular expression> [flags]
    name=$1 words=$2
    shift 2
    "$program" --train 300 --validation 200 --inner-steps 100 --outer-steps 4 \
        --final-steps 5 --threads 1 --out result "$@" >"$out" 2>"$err"
    got=$?
    verdict "hyperclean_$name" "$(
        differs 'exit status' 1 "$got"
        grep -qE "$words" "$err" || echo "not on stderr: $words"
        differs 'bytes on stdout' 0 "$(wc -c <"$out" | tr -d ' ')"
        differs 'files written' '' "$(ls result)"
    )"
    rm -rf result
}
where='diverged: step [0-9]+ of 100, op [a-z_]+$'
diverged training_overflows_names_step_and_op "hyperclean: training $where" --rate 1e38
diverged derivative_overflows_names_step_and_op "finite, but its derivative $where" \
    --rate 1000

"$program" --help >"$out" 2>"$err"
verdict hyperclean_help_lists_every_flag "$(
    differs 'exit status' 0 $?
    contains "$out" --seed --threads --train --validation --corrupt --radius --inner-steps \
        --outer-steps --memory --schedule --data --json --out --help
)"

small --threads 1 --corrupt -0 --json
status=$?
verdict hyperclean_nothing_wrong_has_no_recall "$(
    differs 'exit status' 0 $status
    contains "$err" ' 0 with a wrong label' 'recall -,'
    differs corrupt 0 "$(field corrupt)"
    differs recall null "$(field recall)"
    differs 'lines with nan' '' "$(cat "$out" "$err" | grep -iw -e '-\{0,1\}nan')"
)"

# The oracle is the baseline then.
verdict hyperclean_equal_trainings_tie "$(
    differs oracle_accuracy "$(field baseline_accuracy)" "$(field oracle_accuracy)"
    small --threads 1 --corrupt 0 --radius 200 --outer-rate 1e-12
    contains "$out" 'cleaned ties with the baseline: +0.00' 'cleaned ties with the oracle: +0.00' \
        'Best without knowing the answer: baseline and cleaned.'
)"

# lost <case> <a redirection of stdout> [flags]: what is printed cannot arrive.
lost() {
    name=$1 where=$2
    shift 2
    (
        if [ "$where" = closed ]; then exec >&-; else exec >"$where"; fi
        exec "$program" --train 100 --validation 100 --inner-steps 3 --outer-steps 1 \
            --final-steps 3 --threads 1 "$@" 2>"$err"
    )
    status=$?
    verdict "hyperclean_$name" "$(
        differs 'exit status' 1 $status
        contains "$err" 'standard output cannot be written'
    )"
}
lost closed_stdout_fails closed
lost closed_stdout_fails_with_json closed --json
lost closed_stdout_fails_the_help closed --help
if [ -c /dev/full ]; then
    lost full_stdout_fails /dev/full
    lost full_stdout_fails_with_json /dev/full --json
else
    ok 'hyperclean_full_stdout_fails # SKIP no /dev/full'
fi

# A folder where a file should go is met when it is written, at the end.
mkdir -p blocked/weights.csv
small --threads 1 --out blocked
status=$?
verdict hyperclean_out_failing_at_the_end_still_shows_the_table "$(
    differs 'exit status' 1 $status
    contains "$err" 'weights.csv: cannot be written' 'may now hold files of two runs'
    contains "$out" '  baseline ' '  oracle '
    differs 'claims of writing' '' "$(grep -i 'written' "$out")"
)"
rm -rf blocked

files='config.json distrusted.png metrics.csv model.safetensors report.html weights.csv weights.safetensors'

# A seed that a double cannot hold. The line with it may be long.
small --threads 1 --seed 9007199254740993 --json --out whole
status=$?
verdict hyperclean_json_has_every_key "$(
    differs 'exit status' 0 $status
    number='-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?'
    value="($number|null|true|false|\"[a-z_-]*\")"
    tail -n 1 "$out" | grep -qE "^\{\"[a-z0-9_]+\":$value(,\"[a-z0-9_]+\":$value)*\}\$" ||
        echo "the last line is not one flat JSON object: $(tail -n 1 "$out")"
    for key in baseline_accuracy oracle_accuracy validation_only_accuracy \
        cleaned_accuracy f1 recall outer_steps inner_steps seconds \
        hypergradient_seconds inner_seconds predicted_bytes peak_bytes peak_rss_bytes; do
        case $(field $key) in
        [0-9]*) ;;
        *) echo "$key: expected a number, got '$(field $key)'" ;;
        esac
    done
    tail -n 1 "$out" | grep -q '"precision":' || echo 'no key precision'
    differs seed 9007199254740993 "$(field seed)"
    differs outer_steps 2 "$(field outer_steps)"
    differs interrupted false "$(field interrupted)"
)"
verdict hyperclean_json_alone_stands_on_stdout "$(
    differs 'lines on stdout' 1 "$(wc -l <"$out" | tr -d ' ')"
)"
verdict hyperclean_table_has_every_training "$(
    contains "$err" '  baseline ' '  validation only ' '  cleaned ' '  oracle ' \
        'Best without knowing the answer:' 'Written to whole:'
    differs 'lines over 80 columns' '' \
        "$(grep -v '^Data hyper-cleaning' "$err" | grep -E '.{81}')"
)"
verdict hyperclean_out_holds_every_file "$(
    differs files "$files" "$(listing whole)"
    differs 'PNG signature' 89504e470d0a1a0a \
        "$(od -An -tx1 -N8 whole/distrusted.png | tr -d ' \n')"
    differs 'PNG end' 49454e44ae426082 \
        "$(tail -c 8 whole/distrusted.png | od -An -tx1 | tr -d ' \n')"
    differs 'rows of metrics.csv' 3 "$(wc -l <whole/metrics.csv | tr -d ' ')"
    contains whole/config.json '"train":200,' '"radius":40,' '"seed":9007199254740993,' \
        '"schedule":"auto"' '"out":"whole"'
    differs 'verdicts of report.html' 1 "$(grep -c 'class="verdict' whole/report.html)"
    differs 'rows of weights.csv' 201 "$(wc -l <whole/weights.csv | tr -d ' ')"
    differs 'wrong labels in weights.csv' 100 \
        "$(awk -F, 'NR > 1 && $2 != $3' whole/weights.csv | wc -l | tr -d ' ')"
)"

# The same result in a file, and the text on stdout again.
small --threads 1 --json result.json
status=$?
verdict hyperclean_json_goes_to_a_file "$(
    differs 'exit status' 0 $status
    contains "$out" 'Best without knowing the answer:'
    differs 'lines of text with JSON' 0 "$(grep -c '^{' "$out")"
    differs 'lines of JSON' 1 "$(grep -c '^{.*"outer_steps":2,.*}$' result.json)"
)"
rm -f result.json

small --threads 1 --out whole
status=$?
verdict hyperclean_out_of_an_earlier_run_is_announced "$(
    differs 'exit status' 0 $status
    differs 'times said' 1 "$(grep -c 'whole holds files of an earlier run' "$err")"
    differs files "$files" "$(listing whole)"
)"

# A line of progress is drawn over the one before: one that wraps would stay.
if command -v script >/dev/null; then
    script -qec "stty cols 40 && $program --train 200 --validation 100 --inner-steps 5 \
        --outer-steps 2 --final-steps 5" /dev/null >"$out" 2>"$err" </dev/null
    tr '\r' '\n' <"$out" | grep '^\[[#.]*\]' >bars
    verdict hyperclean_progress_fits_a_narrow_terminal "$(
        differs 'bars that are complete' 1 "$(grep -c '100 %' bars)"
        differs 'longest line' 39 "$(awk 'length > n { n = length } END { print n }' bars)"
    )"
    # Losses as blocks, or as plain letters where the locale has no others.
    for locale in C.UTF-8 C; do
        LC_ALL=$locale TERM=xterm script -qec "stty cols 80 && $program --train 200 \
            --validation 100 --inner-steps 5 --outer-steps 500 --final-steps 5" /dev/null \
            >"$out" 2>"$err" </dev/null
        tr '\r' '\n' <"$out" | grep '  cleaning .*/s, loss ' | tail -n 1 >bars
        blocks=$(LC_ALL=C tr -cd '\201-\210' <bars | wc -c | tr -d ' ')
        verdict "hyperclean_progress_draws_losses_in_$locale" "$(
            contains bars '/500, ' ', loss '
            [ "$locale" = C ] && differs 'blocks' 0 "$blocks"
            [ "$locale" = C ] || [ "$blocks" -ge 2 ] || echo "expected blocks, got $blocks"
        )"
    done
    rm -f bars
else
    n=$((n + 1))
    echo "ok $n - hyperclean_progress_fits_a_narrow_terminal # SKIP script is not installed"
fi

# same <case> <schedule> [flags]: the numbers and weights of the run in kept/, to the bit
same() {
    name=$1 schedule=$2
    shift 2
    "$program" --train 500 --validation 300 --inner-steps 30 --outer-steps 3 \
        --final-steps 20 --json --out same "$@" >"$out" 2>"$err"
    got=$?
    numbers=$(for key in f1 validation_loss cleaned_accuracy baseline_accuracy \
        validation_only_accuracy oracle_accuracy; do echo "$key $(field $key)"; done)
    [ -n "$kept" ] || { cp -R same kept && kept=$numbers; }
    verdict "hyperclean_$name" "$(
        differs 'exit status' 0 $got
        differs schedule "\"$schedule\"" "$(field schedule)"
        differs numbers "$kept" "$numbers"
        cmp kept/weights.csv same/weights.csv 2>&1
        cmp kept/model.safetensors same/model.safetensors 2>&1
        case $(field f1) in 0.[6-9]*) ;; *) echo "f1: expected above 0.6, got $(field f1)" ;; esac
    )"
    rm -rf same
}
same store_all_finds_labels store-all --threads 1 --schedule store-all
same two_level_changes_no_bit two-level --threads 1 --schedule two-level
same revolve_changes_no_bit revolve --threads 1 --schedule revolve
# Between what revolve and what two-level needs; see the message of a budget too small.
same small_memory_changes_no_bit revolve --threads 1 --memory 600K
verdict hyperclean_small_memory_keeps_its_budget "$(
    [ "$(field peak_bytes)" -le 614400 ] || echo "$(field peak_bytes) of 614400 bytes"
)"
same two_threads_change_no_bit store-all --threads 2

# interrupt <progress to wait for> [flags]: SIGINT once it shows; $status afterwards
interrupt() {
    wanted=$1
    shift
    : >"$err"
    "$program" --train 100 --validation 100 --threads 1 --json --out stopped "$@" \
        >"$out" 2>"$err" &
    running=$!
    until grep -qE "$wanted" "$err" || ! kill -0 $running 2>/dev/null; do sleep 0.1; done
    kill -INT $running
    wait $running
    status=$?
    running=
}

interrupt 'cleaning [0-9]' --inner-steps 10 --outer-steps 1000000 --final-steps 5
done_steps=$(field outer_steps)
verdict hyperclean_interrupt_while_cleaning_keeps_steps "$(
    differs 'exit status' 130 $status
    contains "$err" 'stopping after this step'
    contains "$err" "Interrupted: $done_steps of 1000000 outer steps done" \
        'what there is has been written' 'Written to stopped:' 'not run'
    differs interrupted true "$(field interrupted)"
    differs cleaned_accuracy null "$(field cleaned_accuracy)"
    differs files 'config.json distrusted.png metrics.csv report.html weights.csv weights.safetensors' \
        "$(listing stopped)"
    differs 'rows of metrics.csv' "$((done_steps + 1))" \
        "$(wc -l <stopped/metrics.csv | tr -d ' ')"
    [ "$done_steps" -ge 1 ] || echo "expected a step done, got $done_steps"
)"
rm -rf stopped

# A first evaluation so long that Ctrl-C comes before its end, into the folder of before.
cp -R whole stopped
before=$(holds)
"$program" --train 2000 --validation 100 --threads 1 --json --out stopped \
    --inner-steps 3000 --memory 200M --outer-steps 1 >"$out" 2>"$err" &
running=$!
until grep -q 'earlier run' "$err" || ! kill -0 $running 2>/dev/null; do sleep 0.1; done
sleep 0.3
kill -INT $running
wait $running
status=$?
running=
verdict hyperclean_interrupt_before_a_step_claims_nothing "$(
    differs 'exit status' 130 $status
    contains "$err" 'nothing was learned yet' 'not run'
    differs 'claims of writing' '' "$(grep -i 'written to' "$err")"
    differs outer_steps 0 "$(field outer_steps)"
    differs found null "$(field found)"
    case $(field schedule) in
    \"[a-z]*\") ;;
    *) echo "schedule: expected a name, got $(field schedule)" ;;
    esac
    differs 'the folder' "$before" "$(holds)"
)"

interrupt 'training on the cleaned' --inner-steps 5 --outer-steps 1 --final-steps 1000000
verdict hyperclean_interrupt_in_first_training_keeps_weights "$(
    differs 'exit status' 130 $status
    contains "$err" 'stopping after this step'
    contains "$err" 'Interrupted: 1 of 1 outer steps done' 'not run'
    contains "$err" 'model.safetensors, of an earlier run, has been removed'
    differs interrupted true "$(field interrupted)"
    differs cleaned_accuracy null "$(field cleaned_accuracy)"
    differs files 'config.json distrusted.png metrics.csv report.html weights.csv weights.safetensors' \
        "$(listing stopped)"
)"
rm -rf stopped

interrupt 'training (the|on validation)' --inner-steps 5 --outer-steps 1 --final-steps 20000
verdict hyperclean_interrupt_in_later_training_keeps_model "$(
    differs 'exit status' 130 $status
    contains "$err" 'stopping after this step'
    contains "$err" 'Interrupted: 1 of 1 outer steps done' 'not run'
    differs oracle_accuracy null "$(field oracle_accuracy)"
    case $(field cleaned_accuracy) in
    [0-9]*) ;;
    *) echo "cleaned_accuracy: expected a number, got $(field cleaned_accuracy)" ;;
    esac
    differs files "$files" "$(listing stopped)"
)"

# A state of the outer run, and on from there to the same bits: Ctrl-C once there is one,
# then a second sitting, killed when it has saved a step. A run that was over by then
# proves nothing, and all is tried again.
sitting() { # <flags>: a run whose stop leaves most of it to do
    "$program" --train 500 --validation 300 --inner-steps 30 --outer-steps 40 \
        --final-steps 20 --threads 1 --json "$@" >"$out" 2>"$err"
}
stop_sitting() { # <signal> <flags>: its exit status
    signal=$1 before=$(ls -i state 2>&1)
    shift
    "$program" --train 500 --validation 300 --inner-steps 30 --outer-steps 40 \
        --final-steps 20 --threads 1 --json "$@" >"$out" 2>"$err" &
    running=$!
    until [ "$(ls -i state 2>&1)" != "$before" ] || ! kill -0 $running 2>/dev/null; do
        sleep 0.02
    done
    kill "-$signal" $running
    wait $running 2>/dev/null
    status=$?
    running=
    return $status
}
sitting --out once
once=$? killed=none
numbers=$(for key in f1 validation_loss cleaned_accuracy baseline_accuracy outer_steps; do
    echo "$key $(field $key)"
done)
for _ in 1 2 3 4 5; do
    rm -f state
    stop_sitting INT --save state
    first_steps=$(field outer_steps)
    [ "$first_steps" -lt 40 ] || continue
    stop_sitting KILL --resume state
    killed=$?
    [ $killed = 0 ] || break
done
verdict hyperclean_resumed_run_ends_in_the_same_bits "$(
    differs 'exit status' 0 $once
    [ "$first_steps" -lt 40 ] || echo 'the first sitting was never stopped'
    differs 'exit status of the killed one' 137 "$killed"
    sitting --resume state --out twice
    differs 'exit status of the second' 0 $?
    differs numbers "$numbers" "$(for key in f1 validation_loss cleaned_accuracy \
        baseline_accuracy outer_steps; do echo "$key $(field $key)"; done)"
    cmp once/weights.csv twice/weights.csv 2>&1
    cmp once/model.safetensors twice/model.safetensors 2>&1
    cut -d, -f1-8,10- once/metrics.csv >steps
    cut -d, -f1-8,10- twice/metrics.csv | cmp steps - 2>&1
)"
verdict hyperclean_resume_of_another_run_is_refused "$(
    sitting --rate 0.2 --resume state
    differs 'exit status' 1 $?
    contains "$err" 'it is of a run of --rate 0.3, this one is of --rate 0.2'
    sitting --save state
    differs 'exit status of --save' 1 $?
    contains "$err" '--resume state goes on'
    sitting --resume nothing
    differs 'exit status of nothing' 1 $?
    contains "$err" 'nothing: --resume: expected a file of an earlier --save'
)"

# Other models, mini-batches and colour: labels are found, and stopping is no matter.
model() { # <case> <least F1> [flags]
    name=$1 least=$2
    shift 2
    "$program" --outer-steps 8 --final-steps 3 --threads 1 --json --out model "$@" \
        >"$out" 2>"$err"
    status=$?
    verdict "hyperclean_$name" "$(
        differs 'exit status' 0 $status
        awk -v f="$(field f1)" -v least="$least" 'BEGIN { exit !(f + 0 >= least) }' ||
            echo "f1: expected $least or more, got $(field f1)"
        differs files "$files" "$(listing model)"
    )"
    rm -rf model
}
few='--train 300 --validation 300 --inner-steps'
# shellcheck disable=SC2086 # a list of flags
model mlp_finds_labels 0.75 $few 30 --model mlp --hidden 32
model conv_finds_labels 0.75 --train 1000 --validation 600 --inner-steps 80 --model conv \
    --batch 200
# shellcheck disable=SC2086 # a list of flags
model batches_find_labels 0.75 $few 30 --batch 100
cp "$out" batches
# shellcheck disable=SC2086 # a list of flags
model batches_are_a_function_of_the_step 0.75 $few 30 --batch 100
verdict hyperclean_batches_give_the_same_numbers "$(
    differs f1 "$(sed -n 's/.*"f1":\([^,]*\).*/\1/p' batches)" "$(field f1)"
)"
# shellcheck disable=SC2086 # a list of flags
model colour_is_cleaned 0.5 $few 60 --model conv --batch 100 \
    --data "$(dirname "$mnist")/cifar"
refused batch_larger_than_train_is_refused 1 '--batch 201: expected at most --train 200' \
    --batch 201

echo "1..$n"
exit $failed
