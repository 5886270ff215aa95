#!/bin/sh
# SPDX-License-Identifier: MIT
# test_own_problem.sh: the file to copy, on a folder of pictures and on tables: who wins is
# what its numbers say, a control too, and the best is saved. In TAP.
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
    rm -f own_*.safetensors
    "$program" "$@" >printed 2>err || cat err
    awk '
        function near(a, b) { return (a - b) ^ 2 <= 0.00011 ^ 2 }
        / of .*: validation loss / && (!($1 in least) || $NF < least[$1]) { least[$1] = $NF }
        /^outer step/ { steps++ }
        /^grid .* of / { grid++ }
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
            saved = substr($5, 1, length($5) - 1)
            for (name in validation) if (validation[name] < validation[saved])
                print name " is better than " $0
        }
        END {
            if (runs != 3 || verdicts != 2 || steps != 12 || grid != 36 || !(saved in validation)) print "lines are missing"
            if (validation["gradient"] > least["outer"]) print "the best step is not kept"
            if (validation["grid"] > least["grid"]) print "the best of the grid is not kept"
        }' err printed
    grep -qa '"hidden.weight"' own_weights.safetensors || echo 'no weights saved'
    grep -qa '"rate"' own_tuned.safetensors || echo 'no rate saved'
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

mkdir only && cp -r pictures/lying only
echo 1..9
verdict pictures "$(run pictures; says '^240 examples of 3 classes: 144 to train on'
    awk '$5 == "%" && $4 < 60 { print "hardly learned: " $0 }' printed)"
verdict gradient_wins_on_a_table "$(run rings.csv; says '^gradient against usual: gradient wins')"
verdict grid_wins_and_it_says_so "$(run spirals.csv; says '^gradient against grid: grid wins')"
verdict of_noise_neither_wins "$(run noise.csv; says '^gradient against grid: neither wins')"
verdict column_that_is_not_there "$(refused 'no column "kind"' rings.csv kind)"
verdict folder_that_is_not_there "$(refused 'cannot be read as a folder' nowhere)"
verdict too_few_examples "$(refused 'expected 20 examples .* found 11 of 3' few.csv)"
verdict a_single_class "$(refused 'of 2 classes or more, found 80 of 1' only)"
verdict usage "$(refused 'usage: ')"
exit $failed
