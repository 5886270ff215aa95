#!/bin/sh
# SPDX-License-Identifier: MIT
# test_subproject.sh: the library as a subproject of meson, by the README's lines and meson's
# defaults, in TAP: it says that -O0 is slow, and what is built is the library alone. The
# kernels are the reference's, which compile sooner.
# Usage: test_subproject.sh <repository>
set -u
root=$1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/user/subprojects"
ln -s "$root" "$work/user/subprojects/hypertape"
cp "$root/tests/install/user.c" "$work/user/main.c"
{
    echo "project('user', 'c')"
    sed -n '/^...meson$/,/^...$/p' "$root/README.md" | sed '1d;$d'
} >"$work/user/meson.build"

n=0 failed=0
check() { # <case> <command>
    name=$1
    shift
    n=$((n + 1))
    if "$@" >>"$work/log" 2>&1; then
        echo "ok $n - subproject_$name"
    else
        failed=1
        echo "not ok $n - subproject_$name"
        tail -n 40 "$work/log" | sed 's/^/# /'
    fi
}

check is_found meson setup "$work/build" "$work/user" -Dhypertape:kernels=reference
check without_optimisation_is_warned_of grep -q 'WARNING: hypertape at -O0' \
    "$work/log"
check builds ninja -C "$work/build"
check program_runs sh -c "[ \"\$($work/build/main)\" = 256 ]"
ninja -C "$work/build" -t targets all >"$work/targets"
check builds_no_test_nor_example sh -c \
    "! grep -E '(/tests/|/examples/|\.so)' '$work/targets'"
check optimised_is_not_warned_of sh -c "meson setup '$work/fast' '$work/user' \
    --buildtype=release >'$work/said' && ! grep 'at -O0' '$work/said'"

echo "1..$n"
exit $failed
