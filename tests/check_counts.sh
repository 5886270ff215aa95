#!/bin/sh
# SPDX-License-Identifier: MIT
# check_counts.sh [--mend]: line counts in chapters are true within 5 % (or 3 lines).
# A count is `name` (123): a name in backquotes, a space, a number in parentheses, maybe
# with its comma, "1,234". The name is a file's or, with / at its end, a folder's, whose
# C files count together; it is looked for beside the chapter, below it, from the root. Of
# "together (123)" the number is the sum of all counts since the last heading.
# --mend writes every count as it is.
set -eu
cd "$(dirname "$0")/.."
mend=
[ "${1-}" != --mend ] || mend=yes

# lines_of <chapter's folder> <name>
lines_of() {
    for path in "$1/$2" "$2" "$(find "$1" -path "*/${2%/}" ! -path '*/build*' | head -n 1)"; do
        if [ -f "$path" ]; then
            wc -l <"$path"
            return
        elif [ -d "$path" ] && [ "${2%/}" != "$2" ]; then
            find "$path" -type f \( -name '*.[ch]' -o -name '*.def' \) -exec cat {} + | wc -l
            return
        fi
    done
    echo none
}

# The chapter with every count as it is.
rewritten() {
    folder=$(dirname "$1")
    # shellcheck disable=SC2016 # backquotes are meant
    grep -oE '`[A-Za-z0-9_./-]+` \([0-9][0-9,]*\)' "$1" | sed 's/^`\([^`]*\)`.*/\1/' |
        sort -u | while read -r name; do
        echo "$name $(lines_of "$folder" "$name")"
    done | awk '
        function grouped(n) {
            return n < 1000 ? n "" : int(n / 1000) sprintf(",%03d", n % 1000)
        }
        FNR == NR { lines[$1] = $2; next }
        /^#/ { sum = 0 }
        {
            out = ""
            while (match($0, /(`[A-Za-z0-9_.\/-]+`|together) \([0-9][0-9,]*\)/)) {
                text = substr($0, RSTART, RLENGTH)
                out = out substr($0, 1, RSTART - 1)
                $0 = substr($0, RSTART + RLENGTH)
                name = substr(text, 1, index(text, " (") - 1)
                count = sum
                if (name != "together") {
                    file = substr(name, 2, length(name) - 2)
                    count = lines[file]
                    sum += count
                }
                out = out name " (" (count == "none" ? count : grouped(count)) ")"
            }
            print out $0
        }' - "$1"
}

# Counts of <chapter> that differ too much from those of the text on stdin.
compare() {
    awk -v chapter="$1" '
        function number(text) { gsub(/[^0-9]/, "", text); return text + 0 }
        FNR == NR { true_line[FNR] = $0; next }
        {
            other = true_line[FNR]
            while (match($0, /(`[A-Za-z0-9_.\/-]+`|together) \([0-9][0-9,]*\)/)) {
                said = substr($0, RSTART, RLENGTH)
                $0 = substr($0, RSTART + RLENGTH)
                match(other, /(`[A-Za-z0-9_.\/-]+`|together) \([0-9n][0-9,one]*\)/)
                is = substr(other, RSTART, RLENGTH)
                other = substr(other, RSTART + RLENGTH)
                at = chapter ":" FNR ": "
                if (is ~ /\(none\)/) {
                    print at said ": no such file"
                    continue
                }
                n = number(substr(is, index(is, " (")))
                off = number(substr(said, index(said, " ("))) - n
                if (off < 0) off = -off
                if (off > 3 && off > 0.05 * n)
                    print at said " is " n " (tests/check_counts.sh --mend)"
            }
        }' - "$1"
}

new=$(mktemp)
found=$(mktemp)
trap 'rm -f "$new" "$found"' EXIT
find . -name '*.md' ! -path './build*' ! -path './.git/*' | sed 's|^\./||' | sort |
    while read -r chapter; do
        grep -qE '(`|together) \([0-9]' "$chapter" || continue
        rewritten "$chapter" >"$new"
        if [ -z "$mend" ]; then
            compare "$chapter" <"$new" >>"$found"
        elif grep -q '(none)' "$new"; then
            compare "$chapter" <"$new" | grep 'no such file' >>"$found"
        elif ! cmp -s "$new" "$chapter"; then
            cat "$new" >"$chapter"
            echo "$chapter: mended" >&2
        fi
    done
cat "$found"
[ ! -s "$found" ]
