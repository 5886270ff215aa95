#!/bin/sh
# SPDX-License-Identifier: MIT
# check_readme.sh: the program and the output the README shows are the real ones, in TAP.
# Usage: check_readme.sh <repository> <built example>
set -u
root=$1 program=$2 failed=0

block() { # the first fenced block opened by "$1" after line "$2"
    awk -v open="$1" -v from="$2" 'NR > from && $0 == "```" && on {exit} on {print}
        NR > from && $0 == open {on = 1}' "$root/README.md"
}

check() { # number name expected got
    if [ "$3" = "$4" ]; then
        echo "ok $1 - $2"
    else
        echo "not ok $1 - $2"
        printf '# README has:\n%s\n# in truth:\n%s\n' "$3" "$4" | sed 's/^/# /'
        failed=1
    fi
}

echo 1..3
code_line=$(grep -n '^```c$' "$root/README.md" | cut -d: -f1)
end_line=$(awk -v from="$code_line" 'NR > from && $0 == "```" {print NR; exit}' "$root/README.md")
source=$(cat "$root/examples/learn/hypergradient.c")
check 1 readme_program_is_the_example "$(block '```c' 0)" "$source"
check 2 readme_output_is_the_programs "$(block '```' "$end_line")" "$("$program")"
lines=$(printf '%s\n' "$source" | wc -l)
check 3 readme_program_fits_30_lines yes "$([ "$lines" -le 30 ] && echo yes || echo "$lines")"
exit $failed
