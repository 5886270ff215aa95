#!/bin/sh
# SPDX-License-Identifier: MIT
# test_circles.sh <source root> <build root>: no two files of the library need each other,
# but a header and its own .c; nor do two rooms of autograd. Which file uses a symbol that
# another one defines is read from the objects; which header includes which, from their
# text. Prints TAP, a case a layer and one each for rooms and headers; of a circle, what
# holds it together.
#
# Rules are written in ops: the derivative of a product needs sums, that of a sum a
# broadcast, and that of a broadcast sums. So files of rows call each other's public ops,
# those of ht_ops.h, as any program does, and between them such a call is no need of one
# file for another. All else is: what they share (hti_), and a row by its address.
set -eu
source=$1
build=$2
# Public headers in two files, the first of each pair includes the second.
split='ht_autograd.h ht_ops.h ht_nn.h ht_losses.h ht_nn.h ht_augment.h ht_nn.h ht_update.h ht_bilevel.h ht_outer.h ht_bilevel.h ht_single.h ht_bilevel.h ht_influence.h'
language='autograd/ht_ops.h autograd/ops' # its functions are what files there are written in
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# "<file> <what> <symbol>" of every object of the library; of a source compiled once per
# instruction set, all are one file.
symbols() {
    find "$build/$1" -path '*/lib*.a.p/*.o' | while read -r object; do
        folder=$(dirname "$(dirname "$object")")
        file=$(basename "$object" .o)
        [ -f "$source/${folder#"$build/"}/$file" ] || continue # of a source now gone
        nm -P "$object" | sed "s|^\([^ ]*\) \(.\).*|${folder#"$build/"}/$file \2 \1|"
    done | sort -u
}

# "<user> <definer> <symbol>", within one folder's objects, without calls in the language.
uses() {
    # shellcheck disable=SC2086 # two words
    set -- "$1" $language
    words=$(grep -o 'ht_[a-z0-9_]*_at(' "$source/$2" | tr -d '(' | tr '\n' ' ')
    symbols "$1" | awk -v words="$words" -v speakers="$3/" '
        BEGIN { split(words, list, " "); for (i in list) word[list[i]] }
        $2 ~ /[TDBRVWC]/ { by[$3] = $1 }
        $2 == "U" { user[++n] = $1; symbol[n] = $3 }
        END {
            for (i = 1; i <= n; i++) {
                definer = by[symbol[i]]
                if (definer == "" || definer == user[i]) continue
                if (symbol[i] in word && index(user[i], speakers) == 1 &&
                    index(definer, speakers) == 1)
                    continue
                print user[i], definer, symbol[i]
            }
        }'
}

# "<header> <header> include"; the second half of a header split in two is left out.
includes() {
    (cd "$source" && find tensor autograd nn bilevel data -name '*.h') |
        while read -r header; do
            sed -n 's/^ *# *include "\([^"]*\)".*/\1/p' "$source/$header" |
                while read -r other; do
                    case " $split " in *" ${header##*/} $other "*) continue ;; esac
                    file=$(cd "$source" && find tensor autograd nn bilevel data \
                        -name "$other" | head -n 1)
                    [ -z "$file" ] || echo "$header $file include"
                done
        done
}

# Of edges "<a> <b> <why>" those whose ends reach each other, sets of files apart.
circles() {
    awk '
        { edge[++n] = $0; next_to[$1] = next_to[$1] " " $2; node[$1]; node[$2] }
        function walk(from, at,    list, k, i) {
            k = split(next_to[at], list, " ")
            for (i = 1; i <= k; i++)
                if (!((from, list[i]) in reach)) {
                    reach[from, list[i]]
                    walk(from, list[i])
                }
        }
        END {
            for (a in node) walk(a, a)
            for (i = 1; i <= n; i++) {
                split(edge[i], word, " ")
                if (!((word[2], word[1]) in reach)) continue
                pair = word[1] " needs " word[2]
                if (count[pair]++ < 3) why[pair] = why[pair] " " word[3]
            }
            for (pair in why)
                print pair ":" why[pair] (count[pair] > 3 ? " ..." : "")
        }' | sort
}

n=0
status=0
report() {
    n=$((n + 1))
    if [ -s "$work/circles" ]; then
        echo "not ok $n - $1"
        sed 's/^/# /' "$work/circles"
        status=1
    else
        echo "ok $n - $1"
    fi
}

for layer in tensor autograd nn bilevel data; do
    uses "$layer" >"$work/uses"
    [ -s "$work/uses" ] || echo "no objects in $build/$layer" >"$work/uses"
    circles <"$work/uses" >"$work/circles"
    report "no circle of files in $layer"
done
uses autograd | sed 's|/[^/ ]* | |g' | awk '$1 != $2' | circles >"$work/circles"
report 'no circle of rooms in autograd'
includes | circles >"$work/circles"
report 'no circle of headers'
echo "1..$n"
exit "$status"
