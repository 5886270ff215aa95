#!/bin/sh
# SPDX-License-Identifier: MIT
# test_train.sh: the training scripts as their users meet them, in TAP: what they refuse and
# how, what they write, Ctrl-C, and that a training stopped and resumed has the same bits.
# Usage: test_train.sh <built mnist_mlp> <built cifar_convnet> <built cifar_vit>
set -u
absolute() {
    echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
}
mnist=$(absolute "$1") convnet=$(absolute "$2") vit=$(absolute "$3")
data=$(cd "$(dirname "$0")/../../data/bundled/mnist" && pwd)
n=0 failed=0
work=$(mktemp -d)
running=
trap 'test -z "$running" || kill "$running"; rm -rf "$work"' EXIT
mkdir "$work/folder" && cd "$work/folder" || exit 1
out=$work/out err=$work/err

# verdict <case> <complaints, empty if none>
verdict() {
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - train_$1"
    else
        failed=1
        echo "not ok $n - train_$1"
        printf '%s\n' "$2" | sed 's/^/# /'
        head -n 5 "$err" | sed 's/^/# stderr: /'
    fi
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

same_bytes() {
    cmp "$1" "$2" 2>&1
}

# run <expected status> <program> [flags]
run() {
    run_wanted=$1
    shift
    "$@" >"$out" 2>"$err"
    differs 'exit status' "$run_wanted" $?
}

# refused <case> <exit status> <decisive words> <program> [flags]: and nothing is written
refused() {
    name=$1 status=$2 words=$3
    shift 3
    before=$(ls)
    verdict "$name" "$(
        run "$status" "$@"
        contains "$err" "$words" '  hint: '
        differs 'bytes on stdout' 0 "$(wc -c <"$out" | tr -d ' ')"
        differs 'the folder' "$before" "$(ls)"
    )"
}

refused unknown_flag_is_refused 2 'unknown flag --bogus' "$mnist" --bogus
refused stray_word_is_refused 2 'unexpected argument stray' "$mnist" stray
refused flag_without_value_is_refused 2 '--rate: expected a value' "$mnist" --rate
refused repeated_flag_is_refused 2 '--seed: expected it once' "$mnist" --seed 1 --seed=2
refused misspelt_flag_is_guessed 2 'did you mean --evaluate?' "$mnist" --evalaute
refused epochs_of_letters_are_refused 2 'a whole number from 0 to 100000, got "x"' \
    "$mnist" --epochs x
refused epochs_and_a_half_are_refused 2 'whole number' "$mnist" --epochs 1.5
refused epochs_in_hexadecimal_are_refused 2 'got "0x2"' "$mnist" --epochs 0x2
refused two_outputs_of_one_name_are_refused 2 \
    '--json: expected another file than that of --save, got ./x' "$mnist" --save x --json ./x
refused log_over_the_resumed_file_is_refused 2 'another file than that of --resume' \
    "$mnist" --resume absent --csv absent
refused evaluate_with_save_is_refused 2 'expected no --save beside it' \
    "$mnist" --resume absent --evaluate --save x
refused evaluate_with_csv_is_refused 2 'expected no --csv beside it' \
    "$mnist" --resume absent --evaluate --csv x
refused device_for_save_is_refused_first 1 '/dev/null: --save' "$mnist" --save /dev/null
refused device_for_json_is_refused_first 1 '/dev/null: --json' "$mnist" --json /dev/null
refused batch_of_none_is_refused 2 'whole number from 1' "$mnist" --batch 0
refused rate_of_zero_is_refused 2 'a number above 0' "$mnist" --rate 0
refused rate_nan_is_refused 2 'got "nan"' "$mnist" --rate=nan
refused seed_below_zero_is_refused 2 'below 2^64, got "-1"' "$mnist" --seed -1
refused switch_with_value_is_refused 2 'expected no value' "$mnist" --evaluate=yes
refused evaluate_of_nothing_is_refused 2 'expected --resume FILE' "$mnist" --evaluate
refused absent_data_is_refused 1 'absent: expected a folder' "$mnist" --data absent
refused absent_colour_data_is_refused 1 './dev data cifar' "$vit" --data absent
refused batch_above_the_images_is_refused 1 'a batch of at most 90' \
    "$mnist" --limit 100 --batch 91
refused absent_resume_is_refused 1 'absent: cannot be opened' "$mnist" --resume absent
refused unwritable_save_is_refused_first 1 'absent/x: --save' "$mnist" --save absent/x
refused unwritable_json_is_refused_first 1 'absent/x: --json' "$mnist" --json absent/x
refused folder_for_csv_is_refused_first 1 '.: --csv' "$mnist" --csv .

verdict help_lists_the_flags "$(
    run 0 "$vit" --help
    contains "$out" 'usage: cifar_vit' --resume --decay-epochs --predict
)"

# small <program> [flags]: a few steps on the bundled part
small() {
    small_program=$1
    shift
    case " $* " in *' --batch '*) ;; *) set -- --batch 20 "$@" ;; esac
    run 0 "$small_program" --limit 100 "$@"
}

# The bits of a training of 4 epochs do not depend on a stop after 2: the file holds all
# there is, sums of the log included.
for program in "$mnist" "$convnet" "$vit"; do
    verdict "$(basename "$program")_resumed_has_the_same_bits" "$(
        small "$program" --epochs 4 --save whole --csv whole.csv
        small "$program" --epochs 2 --save half --csv half.csv
        small "$program" --epochs 4 --resume half --save rest --csv half.csv
        same_bytes whole rest
        cmp -s whole half && echo 'two more epochs changed nothing'
        cut -d , -f 1-6 whole.csv >a
        cut -d , -f 1-6 half.csv >b
        same_bytes a b
        differs 'lines of the log' 5 "$(wc -l <whole.csv | tr -d ' ')"
    )"
done

verdict other_seed_is_another_training "$(
    small "$mnist" --epochs 1 --save one
    small "$mnist" --epochs 1 --seed 2 --save two
    small "$mnist" --epochs 1 --seed 1 --save again
    same_bytes one again
    cmp -s one two && echo 'seeds 1 and 2 gave the same'
)"

refused file_of_another_script_is_refused 1 \
    'expected a training saved by cifar_vit, got one of mnist_mlp' "$vit" --resume one
refused file_of_another_batch_is_refused 1 'expected a batch of 20, as when it was saved, got 10' \
    "$mnist" --limit 100 --resume one --batch 10
refused file_of_other_images_is_refused 1 \
    'a number of images to train on of 90, as when it was saved, got 180' \
    "$mnist" --limit 200 --resume one
contains "$err" 'hint: a smaller --limit'
mkdir ../other
for file in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
    from=t10k-${file#*-}
    for kind in '' .gz; do
        test ! -f "$data/$from-ubyte$kind" ||
            cp "$data/$from-ubyte$kind" "../other/$file-ubyte$kind"
    done
done
refused file_of_as_many_other_images_is_refused 1 'got as many others' \
    "$mnist" --limit 100 --data ../other --resume one
refused file_of_another_seed_is_refused 1 'a training of seed 1, this one' \
    "$mnist" --limit 100 --resume one --seed 2
head -c 1000 one >'cut'
refused cut_file_is_refused 1 'cut: ' "$mnist" --resume cut

# The first parameter as NaN: eight bytes of length, the header, then the data, of which
# eight-byte numbers stand first (more.settings) and four-byte ones next.
verdict parameters_that_are_not_finite_are_refused "$(
    header=$(od -An -tu8 -N8 one | tr -d ' ')
    begin=$(head -c $((header + 8)) one | tail -c +9 |
        sed 's/.*"theta\.hidden1\.weight":[^}]*"data_offsets":\[\([0-9]*\).*/\1/')
    cp one nan
    printf '\000\000\300\177' |
        dd of=nan bs=1 seek=$((header + 8 + begin)) conv=notrunc 2>/dev/null
    run 1 "$mnist" --limit 100 --resume nan --evaluate
    contains "$err" 'nan: theta.hidden1.weight[0]: expected a finite number, got nan'
)"

# Steps too small for an f32: the validation loss of the first epoch stays.
verdict patience_ends_a_training_that_gets_no_better "$(
    small "$mnist" --epochs 9 --patience 2 --rate 1e-20 --csv patient
    [ "$(wc -l <patient)" = 4 ] || cat patient
    small "$mnist" --epochs 3 --rate 1e-20 --csv all
    [ "$(wc -l <all)" = 4 ] || cat all
)"

verdict save_without_a_step_is_written "$(
    small "$mnist" --epochs 0 --save none
    small "$mnist" --epochs 1 --resume none --save one.again
    same_bytes one one.again
    small "$mnist" --epochs 1 --resume one --save one.copy
    same_bytes one one.copy
)"

verdict links_stay_and_are_written_through "$(
    for kind in save json csv predict; do ln -s "$kind.real" "$kind.link"; done
    small "$mnist" --epochs 1 --save save.link --json json.link --csv csv.link \
        --predict predict.link
    for kind in save json csv predict; do
        [ -L "$kind.link" ] || echo "$kind.link is no link any more"
        [ -s "$kind.real" ] || echo "$kind.real was not written"
    done
    same_bytes one save.real
)"

# A log longer than the file resumed, its last line cut: each epoch stands in it once.
verdict log_of_a_resumed_training_has_each_epoch_once "$(
    small "$mnist" --epochs 3 --csv log --save three
    sed -n 1,3p log >kept
    printf '%s' "$(cat log)" >cut.log
    small "$mnist" --epochs 2 --save two.epochs
    small "$mnist" --epochs 3 --resume two.epochs --csv cut.log
    differs epochs 'epoch 1 2 3' "$(cut -d , -f 1 cut.log | tr '\n' ' ' | sed 's/ $//')"
    head -n 3 cut.log | same_bytes - kept
    small "$mnist" --epochs 4 --resume three --csv cut.log
    printf '%s' "$(cat cut.log)" >log
    small "$mnist" --epochs 4 --resume three --csv log
    differs epochs 'epoch 1 2 3 4' "$(cut -d , -f 1 log | tr '\n' ' ' | sed 's/ $//')"
)"
echo 'a,b' >other.csv
refused log_with_other_columns_is_refused 1 'expected a log that begins with epoch,' \
    "$mnist" --limit 100 --resume one --csv other.csv
verdict log_with_other_columns_is_kept "$(differs other.csv a,b "$(cat other.csv)")"

accuracy='[0-9.]*'
verdict json_has_the_result "$(
    small "$mnist" --epochs 1 --json result.json
    grep -qx "{\"model\":\"mnist_mlp\",\"test_accuracy\":$accuracy,\"validation_accuracy\"\
:$accuracy,\"seconds\":[0-9.]*,\"parameters\":669706,\"epochs\":1,\"steps\":4,\
\"train_images\":90,\"validation_images\":10,\"test_images\":100,\"seed\":1}" result.json ||
        sed 's/^/got /' result.json
)"
verdict json_alone_stands_on_stdout "$(
    small "$mnist" --epochs 1 --json -
    differs 'lines on stdout' 1 "$(wc -l <"$out" | tr -d ' ')"
    contains "$out" '"test_accuracy":'
    contains "$err" 'epoch 1/1' 'test accuracy'
)"

verdict json_without_a_name_is_stdout "$(
    small "$mnist" --json --epochs 1
    differs 'lines on stdout' 1 "$(wc -l <"$out" | tr -d ' ')"
    contains "$out" '"test_accuracy":'
)"

# What cannot arrive, or be written, is said. A limit on sizes stands for a full disk; the
# folder is left as it was.
verdict closed_stdout_fails "$(
    "$mnist" --limit 100 --batch 20 --epochs 1 2>"$err" >&-
    differs 'exit status' 1 $?
    contains "$err" 'standard output cannot be written'
)"
verdict full_disk_is_said "$(
    before=$(ls)
    (
        trap '' XFSZ
        ulimit -f 0
        "$mnist" --limit 100 --batch 20 --epochs 1 --json full.json
    ) 2>&1 | cat >"$err"
    contains "$err" 'full.json: cannot be written: File too large' '  hint: '
    differs 'the folder' "$before" "$(ls)"
)"

# The accuracy said must be that of the verdicts written.
verdict predictions_agree_with_the_accuracy "$(
    small "$mnist" --epochs 2 --predict p.csv --json r.json --save trained
    differs columns index,label,predicted,probability "$(head -n 1 p.csv)"
    differs rows 101 "$(wc -l <p.csv | tr -d ' ')"
    differs 'right ones' "$(sed 's/.*"test_accuracy":\([0-9]*\).*/\1/' r.json)" \
        "$(awk -F , 'NR > 1 && $2 == $3 { n++ } END { print n + 0 }' p.csv)"
    differs 'odd rows' 0 "$(awk -F , 'NR > 1 && ($1 != NR - 2 || $4 < 0.1 || $4 > 1)' p.csv |
        wc -l | tr -d ' ')"
)"
verdict evaluation_repeats_the_accuracy "$(
    before=$(cksum trained)
    small "$mnist" --evaluate --resume trained --predict q.csv
    same_bytes p.csv q.csv
    differs 'the file' "$before" "$(cksum trained)"
)"
verdict evaluation_on_fewer_images_says_the_epochs_of_the_training "$(
    run 0 "$mnist" --limit 40 --evaluate --resume trained --json -
    contains "$out" '"epochs":2,"steps":8,'
)"
verdict batches_that_do_not_divide_the_test_images_count_each_once "$(
    run 0 "$mnist" --limit 100 --batch 33 --evaluate --resume trained --predict q.csv
    cut -d , -f 1-3 p.csv >a
    cut -d , -f 1-3 q.csv >b
    same_bytes a b
)"

# A training without end, Ctrl-C after its first line: hardly ever between two epochs, as
# one has 45 steps.
verdict interrupt_saves_what_there_is "$(
    "$mnist" --limit 100 --batch 2 --epochs 100000 --save stopped --csv stopped.csv \
        --json stopped.json >"$out" 2>"$err" &
    running=$!
    tries=0
    until grep -q '^epoch 1/' "$out" || [ $tries = 300 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -INT "$running"
    wait "$running"
    differs 'exit status' 130 $?
    contains "$err" 'stopped after step' '--resume goes on from stopped'
    steps=$(sed -n 's/.*stopped after step \([0-9]*\);.*/\1/p' "$err")
    grep -q "\"test_accuracy\":null.*\"steps\":$steps," stopped.json || cat stopped.json
    differs 'rows of the log' $((steps / 45 + 1)) "$(wc -l <stopped.csv | tr -d ' ')"
    epochs=$((steps / 45 + 1))
    small "$mnist" --batch 2 --epochs $epochs --resume stopped --save rest
    contains "$out" "resumed stopped after step $steps"
    small "$mnist" --batch 2 --epochs $epochs --save whole
    same_bytes whole rest
)"

# A few epochs on the bundled part teach something: chance is 10 %.
verdict mnist_is_learned "$(
    run 0 "$mnist" --epochs 3 --json -
    accuracy=$(sed 's/.*"test_accuracy":\([0-9]*\).*/\1/' "$out")
    [ "$accuracy" -ge 90 ] || echo "test accuracy: expected 90 % or more, got $accuracy"
)"

echo "1..$n"
exit $failed
