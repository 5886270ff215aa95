#!/bin/sh
# SPDX-License-Identifier: MIT
# test_demos.sh: what the demos claim at their real size, over seeds 1 to 5, in TAP. It
# takes minutes, so it runs when it is named: ./dev test demos. Numbers that a demo's
# defaults were chosen by are of other seeds, 11 to 13 or from 101 on.
# Usage: test_demos.sh <built tune_penalty> <built distill> <built tune_schedule>
#   <built reweight_cifar> <built augment_vit> <built write> <built rater> <built curate>
#   <built poison>
set -u
n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run <program> [<name> <flags>]: all seeds, to <name>.<seed>
run() {
    program=$1 name=${2:-$(basename "$1")}
    shift $(($# < 2 ? $# : 2))
    for seed in 1 2 3 4 5; do
        "$program" "$@" --json --seed $seed >"$work/$name.$seed" 2>"$work/err" || {
            echo "Bail out! $program $* --seed $seed: exit status $?"
            sed 's/^/# /' "$work/err"
            exit 1
        }
        sed -n '/^Verdict/,/^$/p' "$work/err" | sed "s/^/# seed $seed: /"
        echo "# $(field "$name.$seed" seconds) s, 180 at most on two free cores"
    done
}

field() { # <run> <key>
    sed -n "s/.*\"$2\":\([^,}]*\).*/\1/p" "$work/$1"
}

# over <name> <key> [<key to take from it> [<times>]]: mean over the seeds, and its
# standard error
over() {
    for seed in 1 2 3 4 5; do
        taken=0
        [ $# -lt 3 ] || taken=$(field "$1.$seed" "$3")
        echo "$(field "$1.$seed" "$2") $taken"
    done | awk -v times="${4:-1}" '{ d = $1 - times * $2; sum += d; squares += d * d }
        END { mean = sum / NR
              printf "%.3f %.3f\n", mean, sqrt((squares / NR - mean * mean) / (NR - 1)) }'
}

# at_least <case> <least> <mean> <its standard error>
at_least() {
    n=$((n + 1)) word=
    awk -v least="$2" -v got="$3" 'BEGIN { exit !(got != "" && got + 0 >= least + 0) }' || {
        failed=1
        word='not '
    }
    echo "${word}ok $n - $1"
    echo "# $1: at least $2, got $3 (+- $4)"
}

run "$1"
# shellcheck disable=SC2046 # a mean and an error
at_least tune_penalty_over_the_best_single_penalty_points 1 \
    $(over tune_penalty weight_accuracy single_accuracy)
echo "# over one penalty a class: $(over tune_penalty weight_accuracy class_accuracy)"
echo "# over train and validation joined: $(over tune_penalty weight_accuracy joined_accuracy)"
echo "# both joined: $(over tune_penalty joined_weight_accuracy joined_accuracy)"

run "$2"
# shellcheck disable=SC2046 # a mean and an error
at_least distill_accuracy_percent 80 $(over distill distilled_accuracy)
# shellcheck disable=SC2046 # a mean and an error
at_least distill_over_class_means_points 1 $(over distill distilled_accuracy means_accuracy)
echo "# ten real images: $(over distill real_accuracy)"
echo "# class means: $(over distill means_accuracy)"

# schedule <name>: better than the best of the grid, at a quarter of its cost
schedule() {
    # shellcheck disable=SC2046 # a mean and an error
    at_least "$1_validation_loss_below_the_grids" 0 $(over "$1" grid_loss learned_loss)
    # shellcheck disable=SC2046 # a mean and an error
    at_least "$1_over_the_grid_points" 0 $(over "$1" learned_accuracy grid_accuracy)
    # shellcheck disable=SC2046 # a mean and an error
    at_least "$1_trainings_of_the_grid" \
        "$(over "$1" learned_trainings | awk '{ print 4 * $1 }')" $(over "$1" grid_trainings)
    echo "# over random schedules of its cost: $(over "$1" learned_accuracy random_accuracy)"
    echo "# over the one it begins with: $(over "$1" learned_accuracy begin_accuracy)"
}

run "$3"
schedule tune_schedule
run "$3" tune_schedule_convnet --model convnet
schedule tune_schedule_convnet

run "$4"
# shellcheck disable=SC2046 # a mean and an error
at_least reweight_cifar_over_plain_points 3 \
    $(over reweight_cifar example_accuracy plain_accuracy)
# shellcheck disable=SC2046 # a mean and an error
at_least reweight_cifar_over_inverse_frequency_points 3 \
    $(over reweight_cifar example_accuracy inverse_accuracy)
echo "# over the clean part alone: $(over reweight_cifar example_accuracy clean_accuracy)"
echo "# over the clean part as half: $(over reweight_cifar example_accuracy half_accuracy)"
echo "# over a weight a class: $(over reweight_cifar example_accuracy class_accuracy)"

for program in "$@"; do
    case $program in */curate) run "$program" ;; esac
done
# shellcheck disable=SC2046 # a mean and an error
at_least curate_over_all_of_the_pool_points 20 $(over curate learned_accuracy pool_accuracy)
# shellcheck disable=SC2046 # a mean and an error
at_least curate_over_the_target_alone_points 1 $(over curate learned_accuracy target_accuracy)
# shellcheck disable=SC2046 # a mean and an error
at_least curate_over_the_nearest_points 1 $(over curate learned_accuracy near_accuracy)
for control in random skew loss product pool_target near_target oracle; do
    echo "# over $control: $(over curate learned_accuracy ${control}_accuracy)"
done
echo "# with the target, over nearest with it: $(over curate learned_target_accuracy \
    near_target_accuracy)"
for kind in relevant other wrong photographs; do
    echo "# kept, $kind: $(over curate kept_$kind)"
done

run "$5"
# shellcheck disable=SC2046 # a mean and an error
at_least augment_vit_over_no_augmentation_points 1 \
    $(over augment_vit learned_accuracy none_accuracy)
# shellcheck disable=SC2046 # a mean and an error
at_least augment_vit_over_the_hand_set_policy_points 0 \
    $(over augment_vit learned_accuracy hand_accuracy)
echo "# over half of that policy: $(over augment_vit learned_accuracy half_accuracy)"

for program in "$@"; do
    case $program in */rater) run "$program" ;; esac
done
# shellcheck disable=SC2046 # a mean and an error
at_least rater_over_as_many_at_random_points 5 $(over rater rater_accuracy random_accuracy)
for part in 75 50 25; do
    for control in none small_loss density reference held_out oracle; do
        echo "# $part % kept, over $control: $(over rater rater_kept_$part ${control}_kept_$part)"
    done
done

for program in "$@"; do
    case $program in */poison) run "$program" ;; esac
done
# shellcheck disable=SC2046 # a mean and an error
at_least poison_takes_ten_times_what_random_changes_do_points 0 \
    $(over poison learned_taken random_taken 10)
# shellcheck disable=SC2046 # a mean and an error
at_least poison_over_hardest_changes_points 0.5 $(over poison ascent_accuracy learned_accuracy)
# shellcheck disable=SC2046 # a mean and an error
at_least poison_over_wrong_labels_points 0.5 $(over poison labels_accuracy learned_accuracy)
# shellcheck disable=SC2046 # a mean and an error
at_least poison_over_the_last_epoch_alone_points 0.5 $(over poison epoch_accuracy learned_accuracy)
echo "# it takes: $(over poison learned_taken); at random: $(over poison random_taken)"
for by in influence loss gradient distance; do
    echo "# $by finds of $(field poison.1 changed): $(over poison ${by}_found);" \
        "AUC $(over poison ${by}_auc); accuracy without: $(over poison ${by}_without)"
done

echo "1..$n"
exit $failed
