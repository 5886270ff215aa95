#!/bin/sh
# SPDX-License-Identifier: MIT
# figures.sh [--check | --mend]: how much is tested, counted in the sources and tables: the
# rows of the table of README.md that have a number. --check prints rows there whose number
# is off by more than a tenth (and 10), --mend writes them as they are.
set -eu
cd "$(dirname "$0")"

row() { # <what> <number>
    printf '| %s | %s |\n' "$1" "$2" |
        sed -e ':a' -e 's/\([0-9]\)\([0-9]\{3\}\)\( |\|,\)/\1,\2\3/; ta'
}

# An entry of a list of cases begins a line: CASE(name), TEST(name), cmocka_unit_test(name).
cases() {
    cat "$1"/test_*.c | grep -cE '^ +(CASE|TEST|cmocka_unit_test[a-z_]*)\('
}

# The counts behind these letters in a table of the folder reference.
numbers() {
    awk -v letters=" $2 " '!/^#/ {
            for (i = 1; i < NF; i++)
                if (index(letters, " " $i " ") && $(i + 1) ~ /^[0-9]+$/) n += $(i + 1)
        }
        END { print n }' "reference/$1"
}

lines() {
    grep -cv '^#' "reference/$1"
}

# The value of an enum's name.
named() {
    sed -n "s/.*\\<$2 = \\([0-9]*\\).*/\\1/p" "$1"
}

figures() {
    for layer in tensor autograd nn bilevel data; do
        row "cases of $layer, cmocka" "$(cases $layer)"
    done
    row 'cases of misuse: all public functions, given what they cannot take' "$(cases misuse)"
    row 'rooms of the library, each tried with the headers of every other one' \
        "$(grep -c '^[a-z/]*: ' rooms/test_includes.sh)"
    row 'random programs, differentiated and replayed' \
        "$(named autograd/test_autograd_fuzz.c PROGRAMS)"
    row 'edges of ops, losses and layers' "$(lines edges.txt)"
    row 'their values, first and second derivatives' "$(numbers edges.txt 'y d h')"
    row 'edges of update rules' "$(lines edges_update.txt)"
    row 'values, first and second derivatives of update rules' \
        "$(numbers edges_update.txt 'y d h')"
    row "numbers of PyTorch's layers and losses, to second order" \
        "$(($(numbers layers.txt numbers) + $(numbers loss.txt numbers)))"
    row "trainings by PyTorch's optimizers, rates by its schedulers" \
        "$(($(lines update.txt) + $(lines muon.txt) + $(lines schedule.txt)))"
    row 'mutants that are equal to the rule, each with its reason' \
        "$(grep -cE '^ +\{"[a-z_]+", (true|false), HTI_MUTATE_' autograd/mutate.c)"
    row 'bilevel problems of the literature, solved' "$(grep -c '^ *X(' problems/problems.h)"
    row 'holes of the exercises: empty they fail, filled they pass' \
        "$(cat ../examples/learn/exercises/[0-9]*.c | grep -c 'UNWRITTEN;')"
    row 'wrong answers to exercises, each told by a sentence of its own' \
        "$(cat learn/[0-9]*.c | grep -c '^ \* wrong [0-9]*: ')"
    row 'fuzz targets' "$(find fuzz -name 'fuzz_*.c' | wc -l)"
}

# README.md with the rows' numbers as they are.
rewritten() {
    figures | awk -F ' \\| ' '
        FNR == NR { row[$1] = $0; next }
        { print $1 in row ? row[$1] : $0 }' - README.md
}

case ${1-} in
--check)
    rewritten | awk -F '|' '
        function value(text) { gsub(/[^0-9]/, "", text); return text + 0 }
        FNR == NR { line[FNR] = $0; next }
        line[FNR] != $0 {
            split(line[FNR], part, "|")
            off = value($3) - value(part[3])
            if (off < 0) off = -off
            if (off > 10 && off > 0.1 * value(part[3]))
                printf "tests/README.md:%d:%s is %s (tests/figures.sh --mend)\n", FNR, $2, \
                    value(part[3])
        }' - README.md
    ;;
--mend)
    new=$(mktemp)
    rewritten >"$new"
    cat "$new" >README.md
    rm "$new"
    ;;
*) figures ;;
esac
