#!/bin/sh
# SPDX-License-Identifier: MIT
# test_write_claims.sh: what the write demo claims at its real size, over seeds 1 to 5, in
# TAP: how many codes a reader (zbarimg) reads out of the layer, and what is right from
# the controls. It takes minutes, so it runs when it is named: ./dev test write_claims.
# Usage: test_write_claims.sh <built program>
set -u
program=$1
n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

field() { # <run> <key>
    tail -n 1 "$work/$1" | sed -n "s/.*\"$2\":\([^,}]*\).*/\1/p"
}

# mean <key> [<key to take from it>]: over the seeds, and its standard error
mean() {
    for seed in 1 2 3 4 5; do
        taken=0
        [ $# -lt 2 ] || taken=$(field $seed "$2")
        echo "$(field $seed "$1") $taken"
    done | awk '{ d = $1 - $2; sum += d; squares += d * d }
        END { m = sum / NR; v = squares / NR - m * m
              printf "%.3f %.3f\n", m, sqrt((v > 0 ? v : 0) / (NR - 1)) }'
}

# at_least <case> <least> <got> [<its standard error>]
at_least() {
    n=$((n + 1)) word=
    awk -v least="$2" -v got="$3" 'BEGIN { exit !(got != "" && got + 0 >= least + 0) }' || {
        failed=1
        word='not '
    }
    echo "${word}ok $n - write_$1"
    echo "# $1: at least $2, got $3${4:+ (+- $4)}"
}

decoded=0 mendable=0
for seed in 1 2 3 4 5; do
    "$program" --json --seed $seed --out "$work/page" >"$work/$seed" 2>"$work/err" || {
        echo "Bail out! --seed $seed: exit status $?"
        sed 's/^/# /' "$work/err"
        exit 1
    }
    read=$(zbarimg --raw -q "$work/page/message.png" 2>/dev/null)
    echo "# seed $seed: read '$read'; $(field $seed wrong_modules) modules wrong, in" \
        "$(field $seed wrong_codewords) codewords; S^ $(field $seed smooth_weights)"
    [ "$read" != hypertape ] || decoded=$((decoded + 1))
    [ "$(field $seed wrong_codewords)" -gt "$(field $seed mends)" ] ||
        mendable=$((mendable + 1))
done
at_least codes_with_no_more_wrong_codewords_than_are_mended 5 $mendable
if command -v zbarimg >/dev/null; then
    at_least codes_that_are_read 5 $decoded
else
    n=$((n + 1))
    echo "ok $n - write_codes_that_are_read # SKIP no zbarimg (zbar-tools)"
fi
# shellcheck disable=SC2046 # a mean and an error
at_least modules_right_percent 97 $(mean learned_accuracy)
for control in noise digits one_step last_steps; do
    # shellcheck disable=SC2046 # a mean and an error
    at_least "over_${control}_points" 35 $(mean learned_accuracy ${control}_accuracy)
done
for key in shaken_accuracy new_start_accuracy digits_before digits_after; do
    echo "# $key: $(mean $key)"
done

echo "1..$n"
exit $failed
