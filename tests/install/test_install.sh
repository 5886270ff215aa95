#!/bin/sh
# SPDX-License-Identifier: MIT
# test_install.sh: the library as its users have it, in TAP: installed in a folder of its
# own, each public header by itself in C11 and C++17, every macro in C++17, and a program
# that trains, built and run.
# Usage: test_install.sh <repository> <build folder>
# shellcheck disable=SC2317 # functions that check calls
set -u
root=$1 build=$2
here=$root/tests/install
n=0 failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# check <case> <command>: the command succeeds; what it says is shown if it does not.
check() {
    name=$1
    shift
    n=$((n + 1))
    if ("$@") >"$work/log" 2>&1; then
        echo "ok $n - install_$name"
    else
        failed=1
        echo "not ok $n - install_$name"
        sed 's/^/# /' "$work/log"
    fi
}

skip() {
    n=$((n + 1))
    echo "ok $n - install_$1 # SKIP $2"
}

echo 'typedef int user;' >"$work/user.c"

# As if its prefix were in the folder of this test.
stage() {
    meson install -C "$build" --no-rebuild --destdir "$work/stage" || return
    pc=$(find "$work/stage" -name hypertape.pc)
    installed=$(sed -n 's/^prefix=//p' "$pc")
    sed -i "s|^prefix=.*|prefix=$work/stage$installed|" "$pc"
}

headers() { # <compiler and flags>
    for header in "$include"/*.h; do
        echo "$header"
        # shellcheck disable=SC2046 # a list of flags
        "$@" -Wall -Wextra -pedantic -Wconversion -Werror -fsyntax-only \
            $(pkg-config --cflags hypertape) -include "$header" "$work/user.c" || return
    done
}

# Of those that are a header's guard, or other macros' parts, nobody would write a use.
macros() {
    sed -nE 's/^ *#define +([Hh][Tt]_[A-Za-z0-9_]+).*/\1/p' "$include"/*.h | sort -u |
        grep -vE '^HT_(OP_[12]|STRING_?|LITERAL|COUNTED|VERSION.*|[A-Z]+_H)$' >"$work/macros"
    [ "$(wc -l <"$work/macros")" -gt 100 ] || return
    while read -r macro; do
        grep -qw "$macro" "$here/every_macro.cpp" ||
            { echo "every_macro.cpp lacks $macro"; missing=yes; }
    done <"$work/macros"
    [ -z "${missing-}" ]
}

# The program that trains, and linked with it every macro.
trains_in_cpp() { # <compiler>
    # shellcheck disable=SC2046 # a list of flags
    "$1" -std=c++17 -Wall -Wextra -pedantic -Wconversion -Werror \
        "$here/train.cpp" "$here/every_macro.cpp" -o "$work/train" \
        $(pkg-config --cflags --libs hypertape) && "$work/train"
}

check stages stage
pc=$(find "$work/stage" -name hypertape.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH")
export PKG_CONFIG_PATH LD_LIBRARY_PATH
include=$(pkg-config --variable=includedir hypertape)/hypertape

check headers_stand_alone_in_c11 headers "${CC:-cc}" -std=c11 -x c
check macros_are_all_tried_in_cpp macros
for compiler in g++ clang++; do
    short=${compiler%++}
    if command -v $compiler >/dev/null; then
        check "headers_stand_alone_in_cpp17_by_$short" headers $compiler -std=c++17 -x c++
        check "program_in_cpp17_trains_by_$short" trains_in_cpp $compiler
    else
        skip "cpp17_by_$short" "$compiler is not installed"
    fi
done

echo "1..$n"
exit $failed
