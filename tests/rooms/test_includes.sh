#!/bin/sh
# SPDX-License-Identifier: MIT
# test_includes.sh <source root> <build root>: which room of the library sees which, held
# against the include lists the build has: with those, a file that includes a header of a
# room it may see preprocesses, and one that includes a header of another room does not.
# Prints TAP, a case a pair of rooms. Why the rules are so: README.md of each layer.
set -eu
source=$1
build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A room and the rooms it sees besides itself.
engine='tensor tensor/core tensor/kernels autograd autograd/graph autograd/tape'
cat >"$work/rules" <<END
tensor/core: tensor
tensor/kernels: tensor tensor/core
tensor/reference: tensor tensor/core tensor/kernels
tensor/fast: tensor tensor/core tensor/kernels tensor/fast/loops tensor/fast/amx
tensor/fast/loops: tensor tensor/core tensor/kernels
tensor/fast/amx: tensor tensor/core tensor/kernels tensor/fast/loops
autograd/tape: tensor tensor/core autograd autograd/graph
autograd/ops: $engine
autograd/program: $engine
autograd/passes: $engine autograd/program
autograd/inspect: $engine autograd/ops autograd/program
nn: tensor tensor/core autograd
bilevel: tensor tensor/core autograd autograd/graph nn
bilevel/record: tensor tensor/core autograd autograd/graph nn bilevel
bilevel/unroll: tensor tensor/core autograd autograd/graph nn bilevel
bilevel/implicit: tensor tensor/core autograd autograd/graph nn bilevel
bilevel/outer: tensor tensor/core autograd autograd/graph nn bilevel bilevel/implicit
bilevel/influence: tensor tensor/core autograd autograd/graph nn bilevel
bilevel/stochastic: tensor tensor/core autograd autograd/graph nn bilevel bilevel/implicit
data: tensor tensor/core
END

# Folders of the library that hold C, headers alone included.
rooms_with() {
    (cd "$source" && find tensor autograd nn bilevel data -type f -name "$1" |
        sed 's|/[^/]*$||' | sort -u)
}

headers_of() {
    (cd "$source/$1" && find . -maxdepth 1 \( -name '*.h' -o -name '*.def' \) |
        sed 's|^\./||' | sort)
}

# What the build compiles a room's files with: the union of their include folders, so that
# one list too wide is seen.
includes_of() {
    awk -v room="$1" -v source="$source/" '
        /"directory":/ { split($0, part, "\""); directory = part[4] }
        /"command":/   { command = $0 }
        /"file":/ {
            split($0, part, "\"")
            file = part[4]
            sub(/^(\.\.\/)+/, "", file)
            if (index(file, source) == 1) file = substr(file, length(source) + 1)
            if (file !~ "^" room "/[^/]*$") next
            words = split(command, word, " ")
            for (i = 1; i <= words; i++)
                if (word[i] ~ /^-I/) {
                    folder = substr(word[i], 3)
                    print "-I" (folder ~ /^\// ? "" : directory "/") folder
                }
        }' "$build/compile_commands.json" | sort -u
}

# preprocesses, with the flags at hand, what is on stdin; the result is in $work/text
preprocesses() {
    cat >"$work/one.c"
    # shellcheck disable=SC2086 # lists
    $compiler -std=c11 -D_POSIX_C_SOURCE=200809L -E -P -o "$work/text" $flags "$work/one.c" \
        >"$work/log" 2>&1
}

ok() {
    n=$((n + 1))
    echo "ok $n - $1"
}

not_ok() {
    n=$((n + 1))
    status=1
    echo "not ok $n - $1"
    sed 's/^/# /' "$work/why"
}

is_missing() {
    if echo "#include \"$1\"" | preprocesses; then
        echo "$1 is seen"
    elif ! grep -q '\(No such file\|not found\)' "$work/log"; then
        cat "$work/log"
    fi
}

# Of the headers on stdin, those that are found.
found() {
    sed 's|.*|#if __has_include("&")\nFOUND &\n#endif|' | preprocesses || cat "$work/log"
    sed -n 's/^FOUND \(.*\)/\1 is seen/p' "$work/text"
}

# The pair's case: of the other room, every header is seen or none is.
check_pair() {
    case " $seen " in
    *" $other "*)
        what="$room sees $other"
        for header in $(headers_of "$other"); do
            echo "#include \"$header\"" | preprocesses || cat "$work/log"
        done >"$work/why"
        ;;
    *)
        what="$room does not see $other"
        {
            is_missing "$(headers_of "$other" | head -n 1)"
            headers_of "$other" | found
        } >"$work/why"
        ;;
    esac
    if [ -s "$work/why" ]; then not_ok "$what"; else ok "$what"; fi
}

compiler=$(sed -n 's/.*"command": "\([^"]*\)".*/\1/p' "$build/compile_commands.json" |
    sed -n '1s/ -[ID].*//p')
n=0
status=0
with_headers=$({
    rooms_with '*.h'
    rooms_with '*.def'
} | sort -u)

for room in $(rooms_with '*.c'); do
    flags=$(includes_of "$room" | tr '\n' ' ')
    if ! grep -q "^$room:" "$work/rules"; then
        echo "its line in the table of $0 is missing" >"$work/why"
        not_ok "$room has a rule"
    elif [ -z "${flags% }" ]; then
        ok "$room # SKIP not built"
    else
        seen=$(sed -n "s|^$room: ||p" "$work/rules")
        for other in $with_headers; do
            [ "$other" = "$room" ] || check_pair
        done
    fi
done
echo "1..$n"
exit "$status"
