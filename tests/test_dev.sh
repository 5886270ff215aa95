#!/bin/sh
# SPDX-License-Identifier: MIT
# test_dev.sh: what ./dev refuses, before it installs or builds anything, in TAP.
# Usage: test_dev.sh <repository>
set -u
root=$1
n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# answers <case> <exit status> <stream that has the usage; the other is empty> [words]
answers() {
    name=$1 status=$2 stream=$3
    shift 3
    n=$((n + 1))
    "$root/dev" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    silent=out
    [ "$stream" = err ] || silent=err
    if [ "$got" = "$status" ] && [ ! -s "$work/$silent" ] &&
        head -n 1 "$work/$stream" | grep -qx 'usage: ./dev <command> \[arguments\]'; then
        echo "ok $n - dev_$name"
    else
        failed=1
        echo "not ok $n - dev_$name"
        echo "# expected exit status $status and the usage on std$stream; got $got"
        sed 's/^/# stdout: /' "$work/out"
        sed 's/^/# stderr: /' "$work/err"
    fi
}

answers no_command_shows_usage 2 err
answers unknown_command_shows_usage 2 err tests
answers help_goes_to_stdout 0 out help
answers help_flag_goes_to_stdout 0 out --help
answers test_unknown_flag_shows_usage 2 err test --fast
answers lint_unknown_check_shows_usage 2 err lint everything

echo "1..$n"
exit $failed
