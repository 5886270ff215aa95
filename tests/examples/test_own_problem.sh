#!/bin/sh
# SPDX-License-Identifier: MIT
# test_own_problem.sh: the file to copy, on a folder of pictures and on tables: who wins is
# what its numbers say, a control too, and the best is saved, which then predicts. In TAP.
# Usage: test_own_problem.sh <built own_problem> <built make_pictures>
set -u
program=$(realpath "$1") make_pictures=$(realpath "$2") n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# verdict <case> <complaints, empty if none>
verdict() {
    n=$((n + 1))
    [ -z "$2" ] || failed=1
    echo "$([ -z "$2" ] || echo 'not ')ok $n - own_problem_$1"
    [ -z "$2" ] || printf '%s\n' "$2" | sed 's/^/# /'
}

# run <argument> ...: complaints of an honest run. Grid and gradient cost the same, and each
# keeps the best it has seen of the validation loss; each verdict is that of the test losses
# above it; what is saved has the lowest validation loss.
run() {
    rm -rf own
    "$program" "$@" >printed 2>err || cat err
    awk '
        function near(a, b) { return (a - b) ^ 2 <= 0.00011 ^ 2 }
        / of .*: validation loss / && (!($1 in least) || $NF < least[$1]) { least[$1] = $NF }
        /^outer step/ { steps++ }
        /^grid .* of / { grid++ }
        $1 == "guessing" { test[$1] = $3; next }
        $5 == "%" { validation[$1] = $2; test[$1] = $3; right[$1] = $4; runs++ }
        $2 == "against" {
            other = substr($3, 1, length($3) - 1); verdicts++
            error = substr($NF, 1, length($NF) - 1); better = test[other] - test[$1]
            size = better < 0 ? -better : better
            if (!near(size, $(NF - 2))) print "losses do not differ so: " $0
            who = size <= 2 * error ? "neither" : better > 0 ? $1 : other
            if ($4 != who && (size - 2 * error) ^ 2 > 0.0003 ^ 2) print "expected " who ": " $0
        }
        $1 == "saved" {
            saved = substr($4, 1, length($4) - 1)
            for (name in validation) if (validation[name] < validation[saved])
                print name " is better than " $0
        }
        /^none is better than guessing/ { none++ }
        $3 == "guessing:" { known = $4 != "neither" && $4 != "guessing" }
        END {
            if ((none > 0) == known) print "what beats guessing is not what is said"
            if (runs != 3 || verdicts != 3 || steps != 12 || grid != 36 || !(saved in validation)) print "lines are missing"
            if (validation["gradient"] > least["outer"]) print "the best step is not kept"
            if (validation["grid"] > least["grid"]) print "the best of the grid is not kept"
        }' err printed
    grep -qa '"hidden.weight"' own/weights.safetensors || echo 'no weights saved'
    grep -qa '"rate"' own/tuned.safetensors || echo 'no rate saved'
    misread
}

# Rows of misread.csv are what is beside the diagonal of the printed counts.
misread() {
    awk '/^test part/ { on = 1; next } /^saved/ { on = 0 }
        on { k++; for (i = 1; i < NF; i++) { all += $i; if (i != k) off += $i } }
        END { print all, off + 0 }' printed >counts
    [ "$(cut -d ' ' -f 2 counts)" = $(($(wc -l <own/misread.csv) - 1)) ] || cat counts own/misread.csv
    grep -q " $(cut -d ' ' -f 1 counts) to test" printed || cat counts
}

# Of pictures that it has not seen nine in ten are taken for what they are.
predicts_pictures() {
    "$program" --predict own more/*/*.png 2>&1 | awk -F '[/:] *' '
        { split($4, is, " "); right += $2 == is[1] }
        END { if (NR != 30 || right < 25) print right " of " NR " right" }'
}

# And rows of a table without labels as many as there are.
predicts_rows() {
    cut -d , -f 1,2 rings.csv >unlabelled.csv
    "$program" --predict own unlabelled.csv 2>&1 | paste -d , rings.csv - | awk -F '[,: ]+' '
        NR > 400 { next } NR > 1 { right += $3 == before; n++ } { before = $6 }
        { line[NR] = $0 } END { if (right < 300) print right " of " n; }'
    cut -d , -f 2,1 --output-delimiter=, rings.csv | sed '1s/a,b/b,a/' >turned.csv
    "$program" --predict own turned.csv >printed 2>err && echo 'other columns not refused'
    grep -q 'expected the columns "a", "b", got "b", "a"' err || cat err
}

# stopped: Ctrl-C while the grid is searched.
stopped() {
    rm -f err && touch err
    "$program" pictures --out stopped >printed 2>err &
    while ! grep -q '^grid  1' err; do sleep 0.02; done
    kill -INT $!
    wait $!
    status=$?
    [ "$status" = 130 ] || echo "status $status"
    says '^saved in stopped: '
    says '^gradient: it ended early: each said to stop'
    [ -s stopped/weights.safetensors ] || echo 'no weights'
    grep -c '^grid' err | awk '$1 > 30 { print "not stopped" }'
}

# says <text>: a complaint if it was not printed.
says() {
    grep -q "$1" printed || sed "s/^/expected \"$1\": /" printed
}

# refused <expected> <argument> ...
refused() {
    text=$1
    shift
    "$program" "$@" >printed 2>err && echo 'not refused'
    grep -q "$text" err || cat err
}

# table <awk statements that set a, b and label from draws of 0 .. 1 by r()> <rows>
table() {
    awk -v rows="$2" 'function r() { s = s * 16807 % 2147483647; return s / 2147483647 }
        BEGIN { s = 4711; print "a,b,label"
            for (i = 0; i < rows; i++) { '"$1"'; printf "%.4f,%.2f,%s\n", a, 100 + 30 * b, label } }'
}

kind=0
for class in falling rising lying; do
    mkdir -p "pictures/$class"
    "$make_pictures" "pictures/$class" "$kind" 80
    kind=$((kind + 1))
done
table 'k = int(3 * r()); t = 6.2832 * r(); d = 1 + k + 0.7 * (r() + r() + r() - 1.5)
    a = d * cos(t); b = d * sin(t); label = substr("low mid top", 1 + 4 * k, 3)' 400 >rings.csv
table 'label = int(2 * r()); d = 1 + 9 * r(); t = d + 3.14159 * label
    a = d * cos(t); b = d * sin(t)' 600 >spirals.csv
table 'a = r(); b = r(); label = int(3 * r())' 300 >noise.csv
head -n 12 rings.csv >few.csv

awk -F , 'NR == 1 { print $1 ",\303\266 x," $3; next } { k = index("lmt", substr($3, 1, 1)) }
    k < 3 { print $1 "," $2 "," (k == 1 ? 7 : 100) }' rings.csv >numbered.csv
mkdir -p more/falling more/rising more/lying
for class in falling rising lying; do
    for i in 70 71 72 73 74 75 76 77 78 79; do mv "pictures/$class/$i.png" "more/$class"; done
done
mkdir only && cp -r pictures/lying only
echo 1..16
verdict pictures "$(run pictures; says '^210 examples of 3 classes: 126 to train on'
    awk '$1 != "guessing" && $5 == "%" && $4 < 60 { print "hardly learned: " $0 }' printed)"
verdict predicts_pictures "$(predicts_pictures)"
verdict gradient_wins_on_a_table "$(run rings.csv; says '^gradient against usual: gradient wins')"
verdict predicts_rows_of_the_same_columns "$(predicts_rows)"
verdict grid_wins_and_it_says_so "$(run spirals.csv; says '^gradient against grid: grid wins')"
verdict of_noise_none_beats_guessing "$(run noise.csv
    says '^gradient against grid: neither wins'; says '^none is better than guessing for sure: ')"
verdict of_numbered_classes_takes_those_there "$(run numbered.csv; says 'examples of 2 classes'
    says '^ .*  7$'; says '^ .*  100$'; says '^2 numbers a row go in: a ö x$')"
verdict stopped_saves_the_best_so_far "$(stopped)"
verdict column_that_is_not_there "$(refused 'no column "kind"' rings.csv --label kind)"
verdict columns_ignored "$(refused 'expected the columns at least one' rings.csv --ignore a --ignore b)"
verdict folder_that_is_not_there "$(refused 'cannot be read as a folder' nowhere)"
verdict too_few_of_a_class "$(refused 'expected 5 examples or more of each class, found [1-4] of "' few.csv)"
verdict a_single_class "$(refused 'expected 2 classes or more, found one' only)"
verdict no_place_to_write "$(refused 'nowhere/out: cannot be written in: No such' rings.csv --out nowhere/out
    grep '^grid' err)"
verdict usage "$(refused 'usage: '; refused 'usage: ' rings.csv --outrate 1)"
verdict help "$("$program" --help >printed || echo failed; says 'usage: own_problem FOLDER')"
exit $failed
