#!/bin/sh
# SPDX-License-Identifier: MIT
# check_tree.sh [--figures]: the house rules a machine can check. Prints offenders; fails
# if any. --figures prints lines and functions by folder instead. Run by `./dev lint`; what
# the rules are for: CONTRIBUTING.md.
set -eu
cd "$(dirname "$0")/.."

library='tensor autograd nn bilevel data'
offenders=$(mktemp)
found=$(mktemp)
trap 'rm -f "$offenders" "$found"' EXIT

# c_files <list of folders>
c_files() {
    # shellcheck disable=SC2086 # a list
    find $1 -type f \
        \( -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.def' \) 2>/dev/null | sort
}

all_files() {
    # shellcheck disable=SC2086 # a list of folders
    find dev .ci meson.build meson_options.txt ./*.md $library tests examples docs -type f \
        ! -path 'data/bundled/*' ! -path 'data/full/*' \
        \( -name '*.[ch]' -o -name '*.cpp' -o -name '*.def' -o -name '*.sh' -o -name '*.py' \
        -o -name '*.md' -o -name 'meson*' -o -name dev -o -name run \) | sort
}

spdx_line() {
    c_files "$library tests examples hypertape.h" | while read -r file; do
        head -n 1 "$file" | grep -qx '/\* SPDX-License-Identifier: MIT \*/' ||
            echo "$file:1: the first line is not the SPDX line"
    done
}

# Characters, not bytes: continuation bytes of UTF-8 do not count.
line_width() {
    c_files "$library tests examples hypertape.h" | while read -r file; do
        LC_ALL=C tr -d '\200-\277' <"$file" | awk -v file="$file" '
            length > 90 { printf "%s:%d: %d columns, 90 at most\n", file, NR, length }'
    done
}

file_length() {
    c_files "$library" | while read -r file; do
        case $file in
        */ht_*.h) limit=400 ;;
        *) limit=600 ;;
        esac
        lines=$(wc -l <"$file")
        [ "$lines" -le "$limit" ] || echo "$file: $lines lines, $limit at most"
    done
}

# "<file> <first line> <lines>" of every function: it opens with `{` and closes with `}` in
# column 0 and begins after the last line that is blank, a directive, or the end of
# something else.
functions() {
    c_files "$library" | xargs awk '
        FNR == 1 { inside = 0; start = 0 }
        /^\{/ { inside = 1 }
        inside && /^\}/ {
            print FILENAME, start + 1, FNR - start
            inside = 0
        }
        !inside && /^$|^#|^\}|\*\/ *$/ { start = FNR }'
}

function_length() {
    functions | awk -v most=46 '
        $3 > most { printf "%s:%d: a function of %d lines, %d at most\n", $1, $2, $3, most }'
}

# Half of the functions have at most 10 lines, nine of ten at most 26.
function_figures() {
    function_table | awk '
        $1 == "library" && ($4 > 10 || $5 > 26) {
            printf "functions: median %d, 90th percentile %d; 10 and 26 at most\n", $4, $5 }'
}

# "<folder> <lines> <functions> <median> <90th percentile> <longest>", the library last.
function_table() {
    {
        c_files "$library" | xargs wc -l | awk '$2 != "total" { print $2, "lines", $1 }'
        functions | awk '{ print $1, "function", $3 }'
    } | awk '{
            folder = $1
            sub(/\/[^\/]*$/, "", folder)
            print folder, $2, $3
            print "~library", $2, $3
        }' | LC_ALL=C sort -k1,1 -k2,2 -k3,3n | awk '
        function row() {
            sub(/~/, "", folder)
            printf "%-18s %6d %9d %6d %5d %7d\n", folder, lines, n, \
                x[int((n + 1) / 2)], x[int((9 * n + 9) / 10)], x[n]
            n = lines = 0
            split("", x)
        }
        $1 != folder { if (folder != "") row(); folder = $1 }
        $2 == "lines" { lines += $3; next }
        { x[++n] = $3 }
        END { row() }'
}

print_figures() {
    printf '%-18s %6s %9s %6s %5s %7s\n' folder lines functions median '90 %' longest
    function_table
}

unfinished() {
    all_files | while read -r file; do
        grep -nwE 'TO[D]O|FIX[M]E|XX[X]' "$file" | sed "s|^|$file:|"
    done
}

includes() {
    c_files "$library" | xargs grep -n '#include.*cblas\.h' >"$found" || true
    [ "$(wc -l <"$found")" -le 1 ] ||
        sed 's/$/ belongs in one file/' "$found"
    c_files "$library" | xargs grep -n '#include "[^"]*/' |
        sed 's/$/ reaches past what its folder sees/'
    c_files "$library examples" | grep -v '^data/' |
        xargs grep -n '#include.*zlib\.h' | sed 's/$/ belongs in data/'
    c_files "$library" | grep -v '^data/stb.c' | xargs grep -n '#include.*stb_' |
        sed 's/$/ belongs in data\/stb.c or examples/'
}

# A row that does not say its samples does not compile, if HTI_ROW is the only way to make
# one.
rows_by_macro() {
    c_files autograd | xargs grep -n 'ht_op hti_op_' |
        grep -v -e 'extern const ht_op' -e 'hti_op_##op = {\.name = #op,' \
            -e 'hti_op_matmul_add = ' | # of programs alone
        sed 's/$/ is not made by HTI_ROW/'
}

# Each op is declared as a function that takes the call's site and as a macro that gives
# it: the second is what a new op's author would not miss.
ops_have_macros() {
    sed -n -e 's/^HT_OP_[12](\([a-z0-9_]*\));.*/\1/p' \
        -e 's/^[a-z_]* ht_\([a-z0-9_]*\)_at(.*/\1/p' autograd/ht_ops.h |
        while read -r op; do
            grep -q "^#define ht_$op(" autograd/ht_ops.h ||
                echo "autograd/ht_ops.h: ht_${op}_at has no macro ht_$op"
        done
}

# A definition's name: the identifier before the first parenthesis, attributes apart. Its
# return type may stand on a line of its own.
unique_statics() {
    # shellcheck disable=SC2016 # an awk program
    c_files "$library" | xargs awk '
        FNR == 1 { type = "" }
        { line = type $0; type = "" }
        line ~ /^static [^=;({]*$/ { type = line " "; next }
        line ~ /^static [^=;]*\(/ && line !~ /; *$/ {
            gsub(/__attribute__ *\(\([^()]*(\([^()]*\))?[^()]*\)\)/, "", line)
            if (sub(/FLOAT\(/, "FLOAT_", line)) sub(/\)\(/, "(", line)
            if (!match(line, /[A-Za-z_0-9]+\(/)) next
            name = substr(line, RSTART, RLENGTH - 1)
            if (name in first && first[name] != FILENAME)
                printf "%s:%d: static %s is also in %s\n", FILENAME, FNR, name, \
                    first[name]
            else
                first[name] = FILENAME
        }'
}

# What begins with hti_ is shared between files.
private_names() {
    c_files "$library" | xargs grep -nE '^static [^;={]*hti_[a-z0-9_]+\(' |
        grep -v 'static inline' | sed 's/$/ is static and needs no hti_/'
}

# What a public header declares - functions, types, constants - has a doc comment of its
# own: beside it, or one that ends on the line above, directives and attributes apart.
documented() {
    # shellcheck disable=SC2016 # an awk program
    c_files "$library" | grep '/ht_[a-z_]*\.h$' | xargs awk '
        FNR == 1 { doc = open = depth = inside = directive = 0 }
        open && !inside { # a comment of several lines
            if (/\*\//) { open = 0; doc = !trailing }
            next
        }
        directive || /^#/ {
            directive = /\\$/
            if (/^#define/) doc = 0
            next
        }
        !inside && /^(__attribute__|extern "C"|\})/ { next }
        !inside && /^$/ { doc = 0 }
        !inside && /^\/\*/ { trailing = 0; open = !/\*\//; doc = !open; next }
        !inside && /^[A-Za-z]/ { inside = NR; at = FNR; text = $0; fine = doc }
        inside {
            code = $0
            if (open && sub(/^.*\*\//, "", code)) open = 0
            else if (open) code = ""
            beside = gsub(/\/\*.*\*\//, "", code)
            if (sub(/\/\*.*/, "", code)) beside = open = trailing = 1
            opens = gsub(/\{/, "{", code) # counts them
            if (!depth || code ~ /^\}/) fine = fine || beside
            depth += opens - gsub(/\}/, "}", code)
            if (depth || code !~ /[;}] *$/) next
            if (!fine) printf "%s:%d: no doc comment: %s\n", FILENAME, at, text
            inside = doc = 0
        }'
}

# Public functions are said whole and shown somewhere; the cheat sheet is as they are.
reference() {
    export PYTHONDONTWRITEBYTECODE=1
    python3 docs/audit.py
    python3 docs/cheatsheet.py --check 2>&1
}

# Line counts in chapters, and how much is tested.
counts() {
    sh tests/check_counts.sh
    sh tests/figures.sh --check
}

if [ "${1-}" = --figures ]; then
    print_figures
    exit
fi
for rule in spdx_line line_width file_length function_length function_figures unfinished \
    includes rows_by_macro ops_have_macros unique_statics private_names documented \
    reference counts; do
    "$rule" || true
done >"$offenders"
cat "$offenders"
[ ! -s "$offenders" ]
