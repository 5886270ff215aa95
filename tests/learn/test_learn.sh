#!/bin/sh
# SPDX-License-Identifier: MIT
# test_learn.sh: ./dev learn as a learner and a teacher use it, and what it says to wrong
# words, in TAP.
# Usage: test_learn.sh <repository> <folder of the built library> <built figures>
set -u
root=$1 out=$2 figures=$3 n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What is remembered of the last folder is to be this test's, not the user's.
mkdir "$work/out" && for part in "$out"/* ; do ln -s "$part" "$work/out/"; done
rm -f "$work/out/learn-folder"

learn() {
    (cd "$work" && sh "$root/examples/learn/learn.sh" "$root" "$work/out" "$@") >"$work/said" 2>&1
    status=$?
}

# expect <case> <exit status> <words of what is said; none of them with a ! before>...
expect() {
    name=$1 want=$2
    shift 2
    n=$((n + 1))
    : >"$work/why"
    [ "$status" = "$want" ] || echo "exit status $status, expected $want" >"$work/why"
    for words in "$@"; do
        case $words in
        !*) ! grep -qF -e "${words#!}" "$work/said" || echo "said: ${words#!}" >>"$work/why" ;;
        *) grep -qF -e "$words" "$work/said" || echo "not said: $words" >>"$work/why" ;;
        esac
    done
    if [ -s "$work/why" ]; then
        failed=1
        echo "not ok $n - learn_$name"
        cat "$work/why" "$work/said" | sed 's/^/# /'
    else
        echo "ok $n - learn_$name"
    fi
}

solve() { # <file>: exercise 2, right
    awk '/UNWRITTEN/ { next }
        /return append\(t, 0, a, 0, b, 0\)/ {
            print "double u = t->value[a], v = t->value[b];"
            print "return append(t, u / v, a, 1 / v, b, -u / v / v);"; next }
        /c\[i\] = 0;/ { print; print "for (int k = 0; k < n; k++)"
            print "c[y[k]] += seed[k];"
            print "for (int j = t->n - 1; j >= 0; j--) for (int k = 0; k < 2; k++)"
            print "if (t->input[j][k] >= 0) c[t->input[j][k]] += c[j] * t->slope[j][k];"; next }
        { print }' "$root/examples/learn/exercises/02.c" >"$1"
}

echo 1..33
learn
expect lists_the_lessons 0 '02  0 of 2  the backward sweep' './dev learn 1 --lesson'
learn 99
expect refuses_a_lesson_that_is_not_there 2 'there is no lesson 99'
learn two
expect refuses_a_word 2 "expected the number of a lesson, got 'two'"
learn 2 --hnit
expect refuses_an_unknown_flag 2 "no flag is called '--hnit'"
learn 2 mine
expect copies_the_exercise 1 'mine/02.c is yours to fill' 'open  divide: not written yet' '0 of 2 right'
echo '/* mine */' >>"$work/mine/02.c"
learn 2
expect remembers_the_folder_and_keeps_what_is_in_it 1 '!is yours to fill' '0 of 2 right'
grep -q mine "$work/mine/02.c" || status=9
expect leaves_the_learners_file 1
learn 2 --hint
expect gives_a_hint 1 'hint 1 of 3 for divide' '!for backward'
learn 2 --hint backward
expect gives_a_hint_for_the_hole_named 1 'hint 1 of 3 for backward' '!for divide'
learn 2 --hint sideways
expect knows_its_holes 1 'no hole that is not right is called sideways'
learn 2 --hint
expect gives_the_next_hint 1 'hint 2 of 3 for divide'
learn 2 --hint
learn 2 --hint
expect ends_hints 1 'no more hints for divide'
learn
expect shows_where_one_is 0 '02  0 of 2' 'yours are in '
solve "$work/mine/02.c"
learn 02
expect is_content_with_what_is_right 0 'right divide' 'right backward' '2 of 2 right'
learn
expect counts_what_is_right 0 '02  2 of 2'
mkdir -p "$work/class/ada" "$work/class/ben, 2nd" "$work/class/eve"
cp "$work/mine/02.c" "$work/mine/marks.csv" "$work/class/ada"
cp "$root/examples/learn/exercises/02.c" "$work/class/ben, 2nd"
echo 'int x' >"$work/class/eve/02.c"
learn --report class
expect marks_a_class 0 'learner,exercise,right,holes,hints,first_wrong' '"ada",02,2,2,4,""' \
    '"ben, 2nd",02,0,2,0,"divide: not written yet' '"eve",02,0,2,0,"does not compile"'
learn --report nowhere
expect refuses_a_class_that_is_not_there 2 "got 'nowhere'"
echo 'int x' >"$work/mine/02.c"
learn 2
expect says_what_does_not_compile 1 '02.c:1:' '02.c does not compile'
solve "$work/mine/02.c"
sed -i 's/c\[y\[k\]\] += .*/c[y[k]] = *(double *)0;/' "$work/mine/02.c"
learn 2
expect outlives_a_crash 1 'right divide' 'wrong backward: your code read or wrote memory' '1 of 2 right'
sed -i 's/c\[y\[k\]\] = .*/for (volatile int z = 0; z < 1;) ;/' "$work/mine/02.c"
LEARN_FLAGS=-DMARK_SECONDS=1
export LEARN_FLAGS
learn 2
expect outlives_an_endless_loop 1 'wrong backward: your code ran for 1 seconds'
sed -i 's/for (volatile.*/exit(0);/' "$work/mine/02.c"
learn 2
expect is_not_passed_by_an_end 1 'wrong backward: '

# What a learner prints is theirs: shown, no more than a screen of it, and never a mark.
noisy() { # <what divide prints>
    solve "$work/mine/02.c"
    sed -i "s/^    double u = t->value/    $1\n&/; s/^double u = t->value/$1\n&/" "$work/mine/02.c"
}
noisy 'printf("share %g ", 1.0);'
learn 2
expect shows_what_is_printed_in_lines_of_its_own 0 'share 1' '  right divide' '2 of 2 right'
noisy 'puts("  right a"); puts("99 of 2 right");'
mkdir -p "$work/loud/one" "$work/loud/qu\"ote"
cp "$work/mine/02.c" "$work/loud/one"
cp "$work/mine/02.c" "$work/loud/qu\"ote"
learn --report loud
expect reports_marks_that_nobody_prints 0 '"one",02,2,2,0,""' '"qu""ote",02,2,2,0,""'
noisy 'for (;;) puts("without end");'
learn 2
expect outlives_endless_printing 1 'wrong divide: your code ran for 1 seconds'
[ "$(wc -c <"$work/said")" -lt 9000 ] || status=9
expect shows_a_screen_of_it 1
printf 'exercise,hole,passed,hints\n2,divide,0,-3\n2,nothing,1,0\n' >"$work/mine/marks.csv"
learn 2 --hint
expect reads_marks_with_care 1 'hint 1 of 3 for divide'
learn 2 'q"uote'
expect refuses_a_folder_no_compiler_takes 2 'quotation mark'
learn 2 3
expect refuses_a_number_for_a_folder 2 "expected a folder, got '3'"
learn 2 mine yours
expect refuses_two_folders 2 'two folders are named'
learn 99999999999999999999
expect refuses_a_long_number 2 'there is no lesson'
learn 2 --html page.html
expect says_what_html_goes_with 2 '--lesson [--html FILE]'

# The drawings in the chapter are those that the library draws. That of rates has a part
# where training is chaotic, and no two processors agree: of it, only that it is whole.
: >"$work/why"
"$figures" "$work/figures" >"$work/why" 2>&1
for name in sweep memory; do
    diff -q "$root/examples/learn/figures/$name.svg" "$work/figures/$name.svg" >>"$work/why"
done
for name in differences rate steps; do
    for file in "$root/examples/learn/figures/$name.svg" "$work/figures/$name.svg"; do
        head -c 4 "$file" | grep -q '<svg' && tail -n 1 "$file" | grep -q '</svg>' &&
            ! grep -qi nan "$file" || echo "$file is not whole" >>"$work/why"
    done
done
status=0
cp "$work/why" "$work/said"
[ ! -s "$work/why" ] || status=1
expect draws_its_figures 0
learn --figures
expect refuses_figures_without_a_folder 2 'usage: ./dev learn --figures DIR'
exit $failed
