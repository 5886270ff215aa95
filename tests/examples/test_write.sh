#!/bin/sh
# SPDX-License-Identifier: MIT
# test_write.sh: the write demo, small, as its users meet it, in TAP: a reader of codes
# (zbarimg, where it is installed) reads the message out of the trained layer, and what
# cannot be written is refused.
# Usage: test_write.sh <built program> <folder of bundled data>
set -u
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") data=$(cd "$2" && pwd)/mnist
n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# verdict <case> <complaints, empty if none> [<why it is skipped>]
verdict() {
    n=$((n + 1))
    [ -z "$2" ] || failed=1
    echo "$([ -z "$2" ] || echo 'not ')ok $n - write_$1${3:+ # SKIP $3}"
    [ -z "$2" ] || { printf '%s\n' "$2" && head -n 8 err; } | sed 's/^/# /'
}

differs() { # <what> <expected> <got>
    [ "$2" = "$3" ] || echo "$1: expected $2, got $3"
}

# The number or word of a key in the JSON line.
field() {
    tail -n 1 "$1" | sed -n "s/.*\"$2\":\"*\([^,}\"]*\).*/\1/p"
}

write() { # <flags>: stdout to out, stderr to err
    "$program" --data "$data" --threads 1 --json "$@" >out 2>err
}

write --text tape --outer-steps 200 --out code
verdict code_has_fewer_wrong_codewords_than_it_mends "$(
    differs 'exit status' 0 $?
    differs verdict learned "$(field out verdict)"
    awk -v wrong="$(field out wrong_codewords)" -v mends="$(field out mends)" \
        'BEGIN { if (wrong == "" || wrong + 0 > mends + 0) print wrong " wrong, mends " mends }'
)"
skip=
command -v zbarimg >/dev/null || skip='no zbarimg (zbar-tools)'
verdict code_is_read_out_of_the_layer "$(
    [ "$skip" ] || differs text tape "$(zbarimg --raw -q code/message.png 2>/dev/null)"
)" "$skip"
verdict page_shows_layer_and_images "$(
    differs images 32 "$(grep -o '<i class="g' code/report.html | wc -l | tr -d ' ')"
    tail -n 1 code/report.html | grep -q '</html>' || echo 'report.html is not whole'
)"

write --draw word --text Hi --outer-steps 150
verdict word_is_drawn_by_its_letters "$(
    differs 'exit status' 0 $?
    differs verdict learned "$(field out verdict)"
    grep -q 'Written is the letters Hi' err || echo 'not said'
)"
for text in 'This is too long to be written here' 'Gr
sse'; do
    write --text "$text"
    verdict "text_that_has_no_room_is_refused_$n" "$(
        differs 'exit status' 1 $?
        grep -q -e '--text .*' err && grep -q 'expected 1 to 32 letters of ASCII' err ||
            echo 'not said'
    )"
done

echo "1..$n"
exit $failed
