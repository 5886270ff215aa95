#!/bin/sh
# SPDX-License-Identifier: MIT
# test_own_labels.sh: the file to copy, on pictures of which some are in a wrong class: it
# finds them; where there is nothing to learn it says so. In TAP.
# Usage: test_own_labels.sh <built own_labels> <built make_pictures>
set -u
program=$(realpath "$1") make_pictures=$(realpath "$2") n=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# verdict <case> <complaints, empty if none>
verdict() {
    n=$((n + 1))
    [ -z "$2" ] || failed=1
    echo "$([ -z "$2" ] || echo 'not ')ok $n - own_labels_$1"
    [ -z "$2" ] || printf '%s\n' "$2" | sed 's/^/# /'
}

# run <status> <argument> ...
run() {
    wanted=$1
    shift
    "$program" "$@" >printed 2>err
    got=$?
    [ "$got" = "$wanted" ] || { echo "status $got" && tail -n 3 err; }
}

# says <file> <text>: a complaint if it is not there.
says() {
    grep -q "$2" "$1" || sed "s/^/expected \"$2\": /" "$1"
}

# Of 60 pictures a class, ten more that are trusted; one in six goes to the next class, as
# wrong-N.png.
kind=0
for class in falling rising lying; do
    mkdir -p "pictures/$class" "clean/$class"
    "$make_pictures" "pictures/$class" "$kind" 80
    for i in 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79; do
        mv "pictures/$class/$i.png" "clean/$class"
    done
    kind=$((kind + 1))
done
to=rising
for class in falling lying rising; do
    for i in 0 6 12 18 24 30 36 42 48 54; do
        mv "pictures/$class/$i.png" "pictures/$to/wrong-$class-$i.png"
    done
    to=$class
done
# Names that have to be written otherwise.
mv pictures/rising/1.png 'pictures/rising/a "b" <c> 100%.png'

# Pictures of one kind in three classes: noise for labels.
mkdir -p noise/a noise/b noise_clean/a noise_clean/b one/a one/b
for i in 1 2 3 4 5 7 8 9 10 11 13 14 15 16 17 19 20 21 22 23 25 26 27 28; do
    cp "pictures/lying/$i.png" "noise/$(echo ab | cut -c $((i * 7 % 5 % 2 + 1)))"
done
for i in 60 61 62 63 64 65 66 67 68 69; do
    cp "clean/lying/$i.png" "noise_clean/$(echo ab | cut -c $((i % 2 + 1)))"
    cp "clean/lying/$i.png" one/a
done
cp clean/lying/70.png one/b

# finds: of the first 20 three in four are among those that were moved, one in six.
finds() {
    head -n 21 pictures_out/suspects.csv | awk -F '","' 'NR == 1 { next } /wrong-/ { right++ }
        { split($1, path, "-"); taken += $3 ~ "^" path[2] "\"" }
        END { if (right < 15) print right + 0 " of the first 20 were moved"
            if (taken < 14) print "of only " taken + 0 " it knows from where" }'
    [ "$(wc -l <pictures_out/suspects.csv)" -eq 181 ] || echo 'not a row a picture'
    [ "$(grep -c '<figure>' pictures_out/suspects.html)" -eq 60 ] || echo 'not 60 pictures'
    grep -o "src='file://[^']*'" pictures_out/suspects.html | sed "s/src='//;s/'//" |
        while read -r address; do
            path=$(printf '%b' "$(echo "${address#file://}" | sed 's/%/\\0x/g;s/\\0x/\\x/g')")
            [ -f "$path" ] || echo "no picture at $address"
        done
}

echo 1..9
verdict gains_by_weights "$(run 0 pictures clean pictures_out
    says printed '^Something was gained: of 30 trusted pictures held back the loss')"
verdict finds_those_moved "$(finds)"
verdict of_noise_says_nothing_was_gained "$(run 3 noise noise_clean
    says printed '^Nothing was gained: ' && says suspects/suspects.html 'Nothing was gained: ')"
verdict writes_any_name "$(says pictures_out/suspects.csv '^"rising/a ""b"" <c> 100%.png","rising"')"
verdict of_other_classes_refused "$(run 1 noise clean; says err 'expected a class that .like has')"
verdict of_few_trusted_refused "$(run 1 noise one
    says err 'expected 4 trusted pictures or more of each class, found 1 of "b"')"
verdict of_no_place_to_write_refused "$(run 1 noise noise_clean nowhere/out
    says err 'nowhere/out/suspects.csv: cannot be written: No such file'
    grep 'outer step' err)"
rm -f err && touch err
"$program" pictures clean stopped >printed 2>err &
while ! grep -q 'outer step  2' err; do sleep 0.1; done
kill -INT $!
wait $!
verdict stopped_writes_what_there_is "$(says printed '^each said to stop, after step'
    [ "$(wc -l <stopped/suspects.csv)" -eq 181 ] || echo 'not a row a picture')"
verdict usage "$(run 2 pictures; says err 'usage: ')"
exit $failed
