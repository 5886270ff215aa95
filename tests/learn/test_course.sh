#!/bin/sh
# SPDX-License-Identifier: MIT
# test_course.sh: the course is whole: each lesson has what belongs to it and is in the
# chapter's map, no two wrong answers of an exercise are told by one sentence, and an
# evening's reading is one, in TAP.
# Usage: test_course.sh <repository>
set -u
cd "$1" || exit 1
n=0 failed=0
work=$(mktemp)
trap 'rm -f "$work"' EXIT

result() { # <case>; complaints are in $work
    n=$((n + 1))
    if [ -s "$work" ]; then
        failed=1
        echo "not ok $n - course_$1"
        sed 's/^/# /' "$work"
    else
        echo "ok $n - course_$1"
    fi
}

echo 1..4
for lesson in examples/learn/[0-9][0-9]_*.c; do
    name=${lesson##*/}
    for file in expected/${name%%_*}.txt exercises/${name%%_*}.c exercises/check/${name%%_*}.c; do
        [ -f "examples/learn/$file" ] || echo "$lesson has no examples/learn/$file"
    done
    [ -f "tests/learn/${name%%_*}.c" ] || echo "$lesson has no tests/learn/${name%%_*}.c"
    grep -q "($name)" examples/learn/README.md || echo "$lesson is not in the chapter's map"
done >"$work"
lessons=$(find examples/learn -maxdepth 1 -name '[0-9][0-9]_*.c' | wc -l)
[ "$lessons" = 15 ] || echo "$lessons lessons; fifteen are promised" >>"$work"
result every_lesson_has_its_files

for solution in tests/learn/[0-9][0-9].c; do
    sed -n 's/^ \* wrong [0-9]*: //p' "$solution" | sort | uniq -d | sed "s|^|$solution: twice: |"
done >"$work"
result wrong_answers_have_sentences_of_their_own

for solution in tests/learn/[0-9][0-9].c; do
    wrongs=$(grep -c '^ \* wrong [0-9]*: ' "$solution")
    [ "$wrongs" -ge 3 ] || echo "$solution has $wrongs wrong answers"
done >"$work"
result exercises_have_three_wrong_answers

# Lessons 5 to 7, 9, 10 and the engine.
lines=$(cat examples/learn/0[5679]_*.c examples/learn/10_*.c examples/learn/engine.c | wc -l)
[ "$lines" -le 1500 ] && : >"$work" || echo "$lines lines" >"$work"
result an_evenings_reading_has_1500_lines

# What each exercise's own test makes fail and pass, summed.
holes=$(cat examples/learn/exercises/[0-9]*.c | grep -c 'UNWRITTEN;')
wrongs=$(cat tests/learn/[0-9]*.c | grep -c '^ \* wrong [0-9]*: ')
echo "# $lessons lessons, $holes holes, $wrongs wrong answers with a sentence each; an" \
    "evening's reading is $lines lines"
exit $failed
