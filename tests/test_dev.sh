#!/bin/sh
# SPDX-License-Identifier: MIT
# test_dev.sh: what ./dev refuses, before it installs or builds anything, and how it starts
# the demo, in TAP.
# Usage: test_dev.sh <repository>
set -u
root=$1
n=0 failed=0
work=$(mktemp -d) || exit 1
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

# A copy of dev, among programs that do nothing, starts a demo that shows its environment.
mkdir -p "$work/bin" "$work/repository/build/examples"
for tool in gcc meson ninja pkg-config; do
    printf '#!/bin/sh\nexit 0\n' >"$work/bin/$tool"
done
: >"$work/repository/build/build.ninja"
cat >"$work/repository/build/examples/hyperclean" <<'EOF'
#!/bin/sh
echo "data=$2"
EOF
cp "$root/dev" "$work/repository/dev"
chmod +x "$work/bin"/* "$work/repository/dev" "$work/repository/build/examples/hyperclean"
ln -s repository/dev "$work/link"
here=$(cd "$work" && pwd -P)/repository

# demo <case> <dev>
demo() {
    name=$1 wanted="data=$here/data/bundled/mnist" dev=$2
    n=$((n + 1))
    got=$(env CC=gcc PATH="$work/bin:$PATH" "$work/$dev" demo 2>"$work/err")
    if [ "$got" = "$wanted" ]; then
        echo "ok $n - dev_$name"
    else
        failed=1
        printf 'not ok %d - dev_%s\n# expected %s\n# got %s\n' "$n" "$name" "$wanted" "$got"
        sed 's/^/# stderr: /' "$work/err"
    fi
}

demo demo_finds_the_bundled_data repository/dev
demo demo_through_a_link_finds_the_repository link

echo "1..$n"
exit $failed
