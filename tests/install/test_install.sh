#!/bin/sh
# SPDX-License-Identifier: MIT
# test_install.sh: the library as its users have it, in TAP: installed in a folder of its
# own, each public header by itself in C11 and C++17, every macro in C++17, and programs
# built by every way the README names, and run.
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
    sed -i "s|^prefix=|&$work/stage|" "$pc"
}

# Digits, documents and examples are beside the library.
usual_places() {
    share=$(dirname "$(dirname "$(pkg-config --variable=digits hypertape)")") &&
        ls "$share/hypertape/mnist/train-images-idx3-ubyte.gz" \
            "$share/doc/hypertape/README.md" "$share/doc/hypertape/LICENSE" \
            "$share/doc/hypertape/autograd/ops/README.md" \
            "$share/doc/hypertape/examples/first/04_hypergradient.c" &&
        cc_shared "$share/doc/hypertape/examples/first/04_hypergradient.c" &&
        "$work/shared"
}

cc_shared() { # <program>
    # shellcheck disable=SC2046 # a list of flags
    "${CC:-cc}" "$1" -o "$work/shared" $(pkg-config --cflags --libs hypertape)
}

# By the lines their first comments give, and loaded by those too; they then ask for data.
own_programs() {
    for run in 'own_problem no' 'own_labels no no'; do
        # shellcheck disable=SC2086 # a list of words
        set -- $run
        name=$1
        shift
        source=$share/doc/hypertape/examples/$name.c
        line=$(sed -n '/^ \*   cc /,/[^\\]$/p' "$source" | sed 's/^ \* *//')
        (mkdir -p "$work/own" && cd "$work/own" && cp "$source" . && unset LD_LIBRARY_PATH &&
            eval "$line" && "./$name" "$@" 2>&1 |
            grep 'cannot be read as a folder') || return
    done
}

# By what hypertape.pc says alone. What is static says what glibc will still load.
cc_static() {
    # shellcheck disable=SC2046 # a list of flags
    "${CC:-cc}" -static "$here/user.c" -o "$work/static" \
        $(pkg-config --static --cflags --libs hypertape) && runs "$work/static"
}

runs() { # <program and its arguments>: its last line is that of user.c
    "$@" >"$work/out" && cat "$work/out" && [ "$(tail -n 1 "$work/out")" = 256 ]
}

# The lines of the README, in a project of three more.
in_cmake() {
    mkdir "$work/cmake" && cp "$here/user.c" "$work/cmake/main.c"
    {
        echo 'cmake_minimum_required(VERSION 3.10)'
        echo 'project(user C)'
        echo 'add_executable(main main.c)'
        sed -n '/^...cmake$/,/^...$/p' "$root/README.md" | sed '1d;$d'
    } >"$work/cmake/CMakeLists.txt"
    cmake -S "$work/cmake" -B "$work/cmake/build" && cmake --build "$work/cmake/build" &&
        runs "$work/cmake/build/main"
}

# `./dev new` and what its last line says to do.
new_program() {
    (cd "$work" && "$root/dev" new mine >said && OMP_NUM_THREADS=1 sh -c "$(cat said)") |
        tee "$work/out"
    grep -E '^epoch 5: 9[3-9]\.[0-9]+ %' "$work/out"
}

new_program_in_meson() {
    meson setup "$work/mine/build" "$work/mine" && ninja -C "$work/mine/build" &&
        OMP_NUM_THREADS=1 "$work/mine/build/main" | grep 'epoch 1'
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
        grep -vE '^HT_(OP_[12]|OP_BOUND|STRING_?|LITERAL|COUNTED|VERSION.*|[A-Z]+_H)$' >"$work/macros"
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

check is_in_the_usual_places usual_places
share=$(dirname "$(dirname "$(pkg-config --variable=digits hypertape)")")
check has_programs_to_copy own_programs
check program_links_shared cc_shared "$here/user.c"
check program_runs_shared runs "$work/shared"
check program_links_static cc_static
if command -v cmake >/dev/null; then
    check program_builds_by_cmake in_cmake
else
    skip program_builds_by_cmake 'cmake is not installed'
fi
check dev_new_builds_by_make_and_learns new_program
check dev_new_builds_by_meson new_program_in_meson
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
