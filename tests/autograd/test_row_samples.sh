#!/bin/sh
# SPDX-License-Identifier: MIT
# test_row_samples.sh <source root> <compiler...>: a built-in row compiles with samples
# and does not without. Prints TAP. What makes it so: HTI_ROW, ops.h.
set -eu
root=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# row <name of the case>, its samples and the row on stdin
row() {
    {
        echo '#include "ops.h"'
        echo 'static void row_run(const ht_run *r) { (void)r; }'
        cat
    } >"$folder/$1.c"
}

compiles() {
    "$compiler" "$@" -std=c11 -pedantic-errors -fsyntax-only -I "$root/tensor" -I "$root/tensor/core" -I "$root/tensor/kernels" \
        -I "$root/autograd" -I "$root/autograd/tape" -I "$root/autograd/ops" "$folder/$name.c" >"$folder/log" 2>&1
}

# expect <case> <yes|no> <part of the diagnostics, if no>
n=0
status=0
expect() {
    name=$1
    n=$((n + 1))
    got=no
    # shellcheck disable=SC2086 # a list of flags
    if compiles $flags; then got=yes; fi
    if [ "$got" = "$2" ] && { [ "$got" = yes ] || grep -q "$3" "$folder/log"; }; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        sed 's/^/# /' "$folder/log"
        status=1
    fi
}

compiler=$1
shift
flags=$*

row row_with_samples_compiles <<'END'
static const ht_sample samples[] = {{1, {{0, {0, {0}}, -1, 1}}, NULL}};
HTI_ROW(neg, samples, .run = row_run);
END
row row_without_samples_does_not_compile <<'END'
HTI_ROW(neg, .run = row_run);
END
row row_with_a_pointer_for_samples_does_not_compile <<'END'
static const ht_sample *const samples = NULL;
HTI_ROW(neg, samples, .run = row_run);
END
row row_with_nothing_but_a_name_does_not_compile <<'END'
HTI_ROW(neg);
END

echo 1..4
expect row_with_samples_compiles yes
expect row_without_samples_does_not_compile no 'error'
expect row_with_a_pointer_for_samples_does_not_compile no 'neg has no samples'
expect row_with_nothing_but_a_name_does_not_compile no 'error'
exit "$status"
