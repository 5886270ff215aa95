#!/bin/sh
# SPDX-License-Identifier: MIT
# callgrind.sh <work program> <build> [--refresh]: instructions of small fixed work,
# counted by valgrind, against what is recorded here; prints TAP. Only our own code counts,
# so that neither OpenBLAS nor libc matters, and only its baseline loops, so that neither
# does the processor; tiny_step_avx2 counts our products too, where there is AVX2, the latest
# set that valgrind knows. Another compiler makes other code: then it is skipped.
# With --refresh it prints the table anew:
#   sh tests/bench/callgrind.sh build/test/tests/bench/work - --refresh
# Read next: work.c, counts.c.
set -eu
work=$1
build=$2

recorded_by='gcc 12 x86_64 openblas'
slack=3 # per cent
recorded() {
    cat <<'END'
eager_scalar 8052501
replay_scalar 407711
replay_step 7461510
tiny_step_avx2 12195910
replay_adam 12253766
hypergradient 13956006
revolve 18722731
record_mlp 1685351
record_vit 4805967
record_bilevel 9169108
END
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# instructions <name>: those the program itself runs inside work_measured. A line after
# `calls=` is what the callee took, which is counted where it stands.
instructions() {
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 valgrind --tool=callgrind \
        --toggle-collect='work_measured*' --compress-strings=no --compress-pos=no \
        --callgrind-out-file="$folder/out" "$work" "$1" >"$folder/log" 2>&1 || {
        code=$?
        sed 's/^/# /' "$folder/log"
        return "$code"
    }
    awk -v own="/$(basename "$work")\$" '
        /^ob=/ { ours = $0 ~ own }
        /^calls=/ { skip = 1; next }
        /^[0-9]/ { if (ours && !skip) sum += $2; skip = 0 }
        END { printf "%d\n", sum }' "$folder/out"
}

if [ "${3-}" = --refresh ]; then
    recorded | while read -r name _; do
        echo "$name $(instructions "$name")"
    done
    exit
fi

if [ "$build" != "$recorded_by" ]; then
    echo 1..1
    echo "ok 1 - instructions # SKIP recorded with $recorded_by, built with $build"
    exit
fi

# verdict <name> <counted> <recorded>: a line of TAP, and what it means.
verdict() {
    awk -v n="$n" -v name="$1" -v got="$2" -v want="$3" -v slack="$slack" '
        BEGIN {
            change = 100 * (got / want - 1)
            bad = change > slack
            printf "%s %d - %s\n", bad ? "not ok" : "ok", n, name
            printf "# %s: %d instructions, recorded %d: %+.1f %%\n", name, got, want, change
            if (bad) print "# if it is worth it, callgrind.sh --refresh prints the table anew"
            if (change < -slack) print "# --refresh to hold the gain"
            exit bad
        }'
}

n=0
status=0
echo "1..$(recorded | wc -l)"
for line in $(recorded | tr ' ' =); do
    name=${line%=*}
    n=$((n + 1))
    if counted=$(instructions "$name"); then
        verdict "$name" "$counted" "${line#*=}" || status=1
    elif [ $? = 77 ]; then
        echo "ok $n - $name # SKIP no AVX2"
    else
        printf '%s\nnot ok %d - %s\n' "$counted" "$n" "$name"
        status=1
    fi
done
exit $status
