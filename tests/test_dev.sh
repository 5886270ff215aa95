#!/bin/sh
# SPDX-License-Identifier: MIT
# test_dev.sh: what ./dev refuses and answers before it installs or builds anything, how it
# starts the demo, what it shows on a terminal, and a new program, in TAP.
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
answers help_goes_to_stdout 0 out help
answers help_flag_goes_to_stdout 0 out --help
answers test_unknown_flag_shows_usage 2 err test --fast
answers lint_unknown_check_shows_usage 2 err lint everything

# says <case> <exit status> <line of stderr> <command>
says() {
    name=$1 status=$2 line=$3
    shift 3
    n=$((n + 1))
    "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ "$got" = "$status" ] && grep -qxF -e "$line" "$work/err"; then
        echo "ok $n - dev_$name"
    else
        failed=1
        echo "not ok $n - dev_$name"
        printf '# expected exit status %s and\n#   %s\n# got %s and\n' "$status" "$line" "$got"
        sed 's/^/#   /' "$work/err"
    fi
}

# found <case> <words> <in file>
found() {
    n=$((n + 1))
    if grep -qF -e "$2" "$3"; then
        echo "ok $n - dev_$1"
    else
        failed=1
        printf 'not ok %d - dev_%s\n# expected %s, got\n' "$n" "$1" "$2"
        sed 's/^/#   /' "$3"
    fi
}

slip() { # <case> <word> <command it is near to>
    says "$1" 2 "dev: no command is called '$2'; the nearest is $3" "$root/dev" "$2"
}

slip letters_exchanged_are_known dmeo demo
slip letter_left_out_is_known tst test
slip letter_too_many_is_known benhch bench
slip letter_changed_is_known lins lint
# Before anything is built or installed, Python included.
mkdir "$work/bare"
for tool in sh cat sed dirname readlink tr mktemp rm grep; do
    ln -s "$(command -v "$tool")" "$work/bare/$tool"
done
env -i PATH="$work/bare" sh "$root/dev" bench influence --help >"$work/help" 2>&1
found bench_influence_help_needs_no_python '  settings  logistic dvemb gelu; ' "$work/help"
says bench_influence_knows_its_methods 1 \
    "dev: bench influence: no setting or method 'trakt' (./dev bench influence --help)" \
    env -i PATH="$work/bare" sh "$root/dev" bench influence trakt
says far_from_all_is_unknown 2 "dev: no command is called 'frobnicate'" \
    "$root/dev" frobnicate
mkdir "$work/full" && : >"$work/full/thesis.tex"
there='is there already; name a folder that is new, or empty'
says new_keeps_a_folder_that_is_not_empty 1 "dev: new: $work/full $there" \
    "$root/dev" new "$work/full"
says new_keeps_a_file 1 "dev: new: $work/full/thesis.tex $there" \
    "$root/dev" new "$work/full/thesis.tex"

# Where nothing is built, and tools that would build say that they were asked.
mkdir -p "$work/unbuilt" "$work/refusing"
cp "$root/dev" "$work/unbuilt/dev"
(cd "$root" && tar -cf - examples/bilevel/hyperclean.c examples/common/command.c \
    examples/common/demo.h) |
    tar -xf - -C "$work/unbuilt"
for tool in meson ninja apt-get sudo; do
    printf '#!/bin/sh\necho "%s was asked: $*"\nexit 1\n' $tool >"$work/refusing/$tool"
done
chmod +x "$work/refusing"/*
PATH="$work/refusing:$PATH" "$work/unbuilt/dev" demo --threads 1 --help >"$work/help" 2>&1
flags=$(grep -c '^  --' "$work/help")
found demo_help_needs_no_build '  --outer-steps       of Adam on the weights' "$work/help"
(cd "$work/unbuilt/examples" && cat ./*/*.[ch]) | grep -c '{"[a-z-]*", FLAG_' >"$work/tables"
found demo_help_has_every_flag "$flags" "$work/tables"
(cd "$root" && tar -cf - examples/bilevel examples/influence examples/poison examples/common \
    examples/own_*.c) | tar -xf - -C "$work/unbuilt"
PATH="$work/refusing:$PATH" "$work/unbuilt/dev" demo tune_penalty --help >"$work/help" 2>&1
flags=$(grep -c '^  --' "$work/help")
found demo_help_of_another_has_shared_flags '  --resume ' "$work/help"
(cd "$work/unbuilt/examples" && cat bilevel/tune_penalty.c common/demo.h common/command.c) |
    grep -c '{"[a-z-]*", FLAG_' >"$work/tables"
found demo_help_of_another_has_every_flag "$flags" "$work/tables"
"$work/unbuilt/dev" demo --list >"$work/list"
found demo_list_says_what_each_does 'distill: which ten images teach a classifier most?' "$work/list"
found demo_list_has_files_to_copy 'own_labels: which of your pictures are in a wrong' "$work/list"
"$work/unbuilt/dev" demo own_labels --help >"$work/help"
found demo_help_of_a_file_to_copy '  ./own_labels FOLDER CLEAN' "$work/help"
says demo_unknown_is_told_the_nearest 1 \
    "dev: no demo is called 'distil'; the nearest is distill; ./dev demo --list" \
    "$root/dev" demo distil

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

# ninja counts on a terminal, and is silent elsewhere.
if command -v script >/dev/null; then
    printf '#!/bin/sh\n[ ! -t 1 ] || echo "[7/9] Compiling"\n' >"$work/bin/ninja"
    CC=gcc PATH="$work/bin:$PATH" script -qec "$work/repository/dev demo" /dev/null \
        >"$work/out" </dev/null
    found terminal_shows_what_ninja_counts '[7/9] Compiling' "$work/out"
    printf '#!/bin/sh\nexit 0\n' >"$work/bin/ninja"
else
    n=$((n + 1))
    echo "ok $n - dev_terminal_shows_what_ninja_counts # SKIP script is not installed"
fi

# No library is installed: a new program gets one that is put in the build folder.
mkdir "$work/repository/examples"
cp -R "$root/examples/new" "$root/examples/learn" "$root/examples/first" "$work/repository/examples"
rm "$work/repository/examples/learn/README.md" # it leads to chapters that are not there
where=$here/build/installed/lib/pkgconfig
cat >"$work/bin/pkg-config" <<'EOF'
#!/bin/sh
[ "$2" != hypertape ]
EOF
cat >"$work/bin/meson" <<'EOF'
#!/bin/sh
[ "$1" = install ] || exit 0
mkdir -p "$6/lib/pkgconfig" && : >"$6/lib/pkgconfig/hypertape.pc"
EOF
(cd "$work" && CC=gcc PATH="$work/bin:$PATH" "$work/repository/dev" new mine >out 2>err)
found new_says_how_to_go_on 'cd mine && make && ./main' "$work/out"
found new_says_which_library "no hypertape is installed: mine uses that of $where" "$work/err"
found new_program_reads_where_digits_are 'argc > 1 ? argv[1] : DIGITS;' "$work/mine/main.c"
found new_makefile_finds_it "export PKG_CONFIG_PATH = $where" "$work/mine/Makefile"
found new_meson_build_finds_it "'pkg_config_path=$where'" "$work/mine/meson.build"

# Pages are made of headers and chapters; what Doxygen warns of is shown, and no page said.
(cd "$root" && tar -cf - docs tensor/*.h* autograd/*.h nn/*.h bilevel/*.h \
    data/*.h) | tar -xf - -C "$work/repository"
printf '#!/bin/sh\nmkdir -p "%s/build/docs/html/search"\n' "$here" >"$work/bin/doxygen"
chmod +x "$work/bin/doxygen"
CC=gcc PATH="$work/bin:$PATH" "$work/repository/dev" docs >"$work/out" 2>"$work/err"
found docs_says_where_to_begin "$here/build/docs/html/index.html" "$work/out"
found docs_joins_an_op_and_its_macro 'ht_var ht_exp(ht_var x);' \
    "$work/repository/build/docs/input/ht_ops.h"
printf '#!/bin/sh\necho "ht_ops.h:9: error: x is not documented"\nexit 1\n' >"$work/bin/doxygen"
says docs_shows_what_is_wrong 1 'ht_ops.h:9: error: x is not documented' \
    env CC=gcc PATH="$work/bin:$PATH" "$work/repository/dev" docs

demo demo_finds_the_bundled_data repository/dev
demo demo_through_a_link_finds_the_repository link

echo "1..$n"
exit $failed
