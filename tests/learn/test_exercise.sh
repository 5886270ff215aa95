#!/bin/sh
# SPDX-License-Identifier: MIT
# test_exercise.sh: of one exercise, each hole fails while it is empty, the solution passes,
# and each wrong answer is told by its own sentence, in TAP. A solution's file has the holes
# as functions, which take the place of the exercise's; WRONG is the number of a mistake,
# 0 for none, and its comment says what the marker has to say of each.
# Usage: test_exercise.sh <repository> <folder of the built library> <NN>
set -u
root=$1 out=$2 nn=$3
exercise=$root/examples/learn/exercises/$nn.c solution=$root/tests/learn/$nn.c
n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

result() { # <case> <file with complaints; empty if none>
    n=$((n + 1))
    if [ -s "$2" ]; then
        failed=1
        echo "not ok $n - exercise_${nn}_$1"
        sed 's/^/# /' "$2"
    else
        echo "ok $n - exercise_${nn}_$1"
    fi
}

# The exercise, its holes filled. A function is from the line with its name to the next }
# in column 0.
fill() {
    awk 'function name(line) { sub(/\(.*/, "", line); sub(/.*[ *]/, "", line); return line }
        FNR == 1 { file++ }
        file == 1 && !on && /^[a-z].*\(/ && !/;$/ { on = 1; f = name($0); text[f] = "" }
        file == 1 { if (on) text[f] = text[f] $0 "\n"; if (/^}/) on = 0; next }
        skip { if (/^}/) skip = 0; next }
        /^[a-z].*\(/ && !/;$/ && (name($0) in text) { printf "%s", text[name($0)]; skip = 1; next }
        { print }' "$solution" "$exercise"
}

build() { # <file> <folder> [flags]
    file=$1 folder=$2
    shift 2
    LEARN_FLAGS="$* ${TEST_FLAGS-}" sh "$root/examples/learn/learn.sh" "$root" "$out" \
        --build "$nn" "$file" "$folder" 2>"$work/errors"
}

holes=$(grep -c 'UNWRITTEN;' "$exercise")
wrongs=$(sed -n 's/^ \* wrong \([0-9]*\): .*/\1/p' "$solution")
# shellcheck disable=SC2086 # a list of numbers
set -- $wrongs
echo "1..$((4 + $#))"

# Empty: each hole says so, and says what is wrong when only the line is taken out.
build "$exercise" "$work" >/dev/null || cat "$work/errors"
"$work/mark-$nn" >"$work/said" 2>&1
told=$(grep -c '^  open  .*: not written yet' "$work/said")
[ "$told" = "$holes" ] || sed "\$a $told of $holes holes say that they are empty" "$work/said" >"$work/why"
: >>"$work/why"
result empty_holes_say_so "$work/why"
: >"$work/why"
build "$exercise" "$work" '-DUNWRITTEN=((void)0)' >/dev/null || cat "$work/errors"
"$work/mark-$nn" >"$work/said" 2>&1
told=$(grep -c '^  wrong [a-z0-9_]*: .\{25\}' "$work/said")
[ "$told" = "$holes" ] || sed "\$a $told of $holes holes are told" "$work/said" >"$work/why"
result holes_that_do_nothing_are_told "$work/why"

fill >"$work/filled.c"
: >"$work/why"
if build "$work/filled.c" "$work" -DWRONG=0 -Werror >/dev/null; then
    "$work/mark-$nn" >"$work/said" 2>&1
    tail -n 1 "$work/said" | grep -qx "$holes of $holes right" || cp "$work/said" "$work/why"
else
    cp "$work/errors" "$work/why"
fi
result solution_passes "$work/why"
: >"$work/why"
[ $# -ge 3 ] || echo "$# wrong answers; at least three are to have a sentence" >"$work/why"
result has_wrong_answers "$work/why"

for wrong in $wrongs; do
    sentence=$(sed -n "s/^ \* wrong $wrong: //p" "$solution")
    : >"$work/why"
    build "$work/filled.c" "$work" "-DWRONG=$wrong" >/dev/null || cp "$work/errors" "$work/why"
    if "$work/mark-$nn" >"$work/said" 2>&1; then
        echo 'it passes' >"$work/why"
    elif ! grep -qF -e "$sentence" "$work/said"; then
        { echo "expected: $sentence" && cat "$work/said"; } >"$work/why"
    fi
    cat "$work/said" >>"$work/all"
    result "wrong_answer_${wrong}_is_told" "$work/why"
done
exit $failed
