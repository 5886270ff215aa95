#!/bin/sh
# SPDX-License-Identifier: MIT
# test_docs_audit.sh: headers with a comment spoilt, and what docs/audit.py and the cheat
# sheet's check say to it, in TAP.
# Usage: test_docs_audit.sh <repository>
set -u
root=$1 n=0 failed=0
export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$root" && tar -cf - docs CHEATSHEET.md tensor/ht_* autograd/ht_* nn/ht_* bilevel/ht_* \
    data/ht_*) | tar -xf - -C "$work"
ln -s "$root/tests" "$root/examples" "$work"

verdict() { # <case> <words expected, empty for nothing> <in file>
    n=$((n + 1))
    if [ -n "$2" ] && grep -qF -e "$2" "$3" || [ -z "$2$(cat "$3")" ]; then
        echo "ok $n - docs_$1"
    else
        failed=1
        printf 'not ok %d - docs_%s\n# expected %s, got\n' "$n" "$1" "${2:-nothing}"
        head -n 10 "$3" | sed 's/^/#   /'
    fi
}

# spoilt <case> <file> <sed> <words expected>
spoilt() {
    cp "$work/$2" "$work/kept"
    sed -i "$3" "$work/$2"
    if cmp -s "$work/$2" "$work/kept"; then
        echo "$2: nothing to spoil" >"$work/said"
    else
        python3 "$work/docs/audit.py" >"$work/said" 2>&1
    fi
    verdict "$1" "$4" "$work/said"
    cp "$work/kept" "$work/$2"
}

python3 "$work/docs/audit.py" >"$work/said" 2>&1
verdict audit_of_what_is_there_says_nothing '' "$work/said"
spoilt audit_sees_a_comment_missing autograd/ht_ops.h 's|\(HT_OP_1(neg);\).*|\1|' \
    'ht_neg lacks a comment'
spoilt audit_sees_a_cost_missing tensor/ht_set.h 's|Cost: a name is found|A name is there|
    s|in the time of its$|by its|; s|goes over the$|is there|' 'ht_set_add lacks what it costs'
spoilt audit_sees_an_error_missing tensor/ht_tensor.h \
    's|aligned for dtype. NULL after an error.|aligned for dtype.|' \
    'ht_tensor_wrap lacks how it fails'
spoilt audit_sees_a_gradient_missing nn/ht_update.h 's|, which has no gradient by the step||
    s|^ \* number, which has no gradient by the step|number|
    s|gradient|direction|; s|[Dd]erivative|number|; s|slope|rise|; s|differentiable|fine|' \
    'ht_rate_step lacks its derivative, or that it has none'
spoilt audit_sees_a_parameter_without_words tensor/ht_set.h \
    's|ht_set_print(const ht_set \*set, FILE \*f)|ht_set_print(const ht_set *set, FILE *sink)|' \
    "ht_set_print lacks words for its parameter 'sink' (FILE *)"
spoilt audit_sees_a_field_without_words data/ht_data.h 's|int classes;|int classes, kinds;|' \
    "lacks a comment for 'kinds'"
spoilt audit_sees_a_function_that_nothing_shows autograd/ht_ops.h \
    's|^HT_OP_1(neg);|HT_OP_1(never_called); /* -x */ HT_OP_1(neg);|' \
    'ht_never_called_at lacks a program or a test that shows it'
spoilt audit_sees_words_for_nothing docs/words.txt 's|^tape: |tape, tapeworm: |' \
    "nothing is called 'tapeworm'"
echo '/* SPDX-License-Identifier: MIT */' >"$work/nn/ht_new.h"
python3 "$work/docs/audit.py" >"$work/said" 2>&1
verdict audit_sees_a_header_that_is_not_listed 'nn/ht_new.h:1: is not in the list' "$work/said"
rm "$work/nn/ht_new.h"

python3 "$work/docs/cheatsheet.py" --check >"$work/said" 2>&1
verdict cheat_sheet_is_current '' "$work/said"
sed -i 's|\(HT_OP_1(neg); *\)/\* -x \*/|\1/* 0 - x */|' "$work/autograd/ht_ops.h"
python3 "$work/docs/cheatsheet.py" --check >"$work/said" 2>&1
verdict cheat_sheet_that_is_not_says_so 'CHEATSHEET.md: not as the headers are' "$work/said"
python3 "$work/docs/cheatsheet.py" --mend
verdict cheat_sheet_is_mended "| \`ht_neg(x)\` | 0 - x |" "$work/CHEATSHEET.md"
echo "1..$n"
exit $failed
