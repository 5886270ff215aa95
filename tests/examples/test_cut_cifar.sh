#!/bin/sh
# SPDX-License-Identifier: MIT
# test_cut_cifar.sh: parts cut out of the bundled CIFAR-10, in TAP.
# Usage: test_cut_cifar.sh <built cut_cifar> <data/bundled/cifar>
set -u
cut=$1 bundled=$2
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/large" "$work/small" "$work/twice"

# verdict <number> <case> <complaints, empty if none>
verdict() {
    [ -z "$3" ] || failed=1
    echo "$([ -z "$3" ] || echo 'not ')ok $1 - cut_cifar_$2"
    printf '%s' "$3" | sed 's/^/# /'
}

echo 1..3
"$cut" "$bundled" "$work/large" 400 100 && "$cut" "$bundled" "$work/small" 100 20
verdict 1 has_as_many_of_each_class "$(
    for part in train.10 test.2; do
        tr '[],' '\n' <"$work/small/${part%.*}_lables.json" | sed '/^$/d' | sort | uniq -c |
            awk -v n="${part#*.}" '$1 != n { print "class", $2, "has", $1 }
                                  END { if (NR != 10) print NR, "classes" }'
    done
)"
# The first of each class are the same in a part that holds more of them.
"$cut" "$work/large" "$work/twice" 100 20
verdict 2 of_a_part_is_the_same_part "$(diff -r "$work/small" "$work/twice" 2>&1)"
verdict 3 of_more_than_there_are_is_refused "$(
    if "$cut" "$work/small" "$work/twice" 200 20 2>"$work/err"; then echo 'exit status 0'; fi
    grep -q 'too few of a class' "$work/err" || cat "$work/err"
)"
exit $failed
