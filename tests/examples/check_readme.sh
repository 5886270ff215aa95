#!/bin/sh
# SPDX-License-Identifier: MIT
# check_readme.sh: the programs the README shows are the examples, no longer than they may be,
# and print what it says, in TAP.
# Usage: check_readme.sh <repository> <folder of the programs> [one to leave out]
set -u
root=$1 programs=$2 without=${3-} failed=0 n=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The k-th block that opens with "$1" after the heading of the programs.
block() {
    awk -v open="$1" -v k="$2" '/^## Four programs/ { on = 1 }
        inside && $0 == "```" { inside = 0; next }
        inside { if (at == k) print; next }
        on && /^```/ { inside = 1; if ($0 == open) at = ++count; else at = -1 }' \
        "$root/README.md"
}

result() { # <ok> <case>
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else
        failed=1
        echo "not ok $n - $2"
        sed 's/^/# /' "$work/why"
    fi
}

# Words alike, and numbers to a part: kernels of other machines round otherwise.
alike() { # <part> <file> <file>
    awk -v part="$1" -v other="$3" '
        { getline line < other; m = split(line, b, " "); if (split($0, a, " ") != m) exit 1
          for (i = 1; i <= m; i++)
              if (a[i] != b[i] && !(a[i] + 0 && b[i] + 0 &&
                  (a[i] - b[i]) ^ 2 <= (part * b[i]) ^ 2)) exit 1 }
        END { if ((getline line < other) > 0) exit 1 }' "$2"
}

program() { # <k> <name> <most lines> <part that numbers may differ by>
    [ "$2" != "$without" ] || return 0
    block '```c' "$1" >"$work/shown"
    diff "$work/shown" "$root/examples/first/$2.c" >"$work/why"
    result $? "readme_shows_$2"
    lines=$(wc -l <"$work/shown")
    echo "$lines lines, $3 at most" >"$work/why"
    [ "$lines" -gt 0 ] && [ "$lines" -le "$3" ]
    result $? "$2_is_short"
    block '```' "$1" >"$work/said"
    (cd "$work" && "$programs/$2" "$root/data/bundled/mnist" >"$work/printed" 2>&1)
    alike "$4" "$work/said" "$work/printed"
    same=$?
    diff "$work/said" "$work/printed" >"$work/why"
    result $same "$2_prints_what_readme_says"
}

echo "1..$([ -z "$without" ] && echo 12 || echo 9)"
program 1 01_autodiff 15 0
program 2 02_regression 40 0.02
program 3 03_digits 60 0.01
program 4 04_hypergradient 30 0
exit $failed
