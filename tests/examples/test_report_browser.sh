#!/bin/sh
# SPDX-License-Identifier: MIT
# test_report_browser.sh: reports in headless Chromium, in TAP: nothing on the console, all
# figures there, nothing wider than a phone, letters large enough, and pictures of it that
# are not blank, on a phone and a desktop, light and dark. Skipped without Chromium.
# Usage: test_report_browser.sh <test_report> <folder of built examples> <bundled data>
set -u
report=$1 programs=$2 data=$3
# shellcheck source=tests/support/browser.sh
. "$(dirname "$0")/../support/browser.sh"

# "name value" lines about a report at a width, its tables opened.
measure() { # <report> <width>
    frame "$1" "$2" 900 "measure(this.contentDocument)"
    cat >>"$work/frame.html" <<'END'
<script>
function measure(page) {
    const all = (what) => [...page.querySelectorAll(what)]
    all('details').forEach((x) => x.open = true)
    const high = (x) => x.getBoundingClientRect().height
    const empty = (x) => !(x.getAttribute('aria-label') ?? x.textContent).trim()
    const found = {
        figures: all('figure').length,
        flat: all('figure, figure svg[role=img], .gallery i').filter((x) => high(x) < 20).length,
        wordless: all('svg[role=img], figcaption, .gallery li, .scroll').filter(empty).length,
        unreachable: all('.scroll, summary').filter((x) => x.tabIndex < 0).length,
        letters: Math.min(...all('svg text').filter((x) => x.textContent).map(high)),
        wide: page.documentElement.scrollWidth,
        scripts: all('script, iframe, link[rel=stylesheet]').length,
    }
    const text = Object.entries(found).map((x) => x.join(' ')).join('\n')
    document.body.innerHTML = '<pre>\n\n' + text + '\n</pre>'
}
</script>
END
    browse --dump-dom "file://$work/frame.html"
}

measured() { # <name>
    sed -n "s/^$1 //p" "$work/dom"
}

# page_is_whole <case> <report> <figures>
page_is_whole() {
    for width in 390 1280; do
        verdict "report_$1_is_whole_at_${width}_pixels" "$(
            measure "$2" $width
            differs figures "$3" "$(measured figures)"
            differs 'figures without height' 0 "$(measured flat)"
            differs 'figures without words' 0 "$(measured wordless)"
            differs 'parts the keyboard does not reach' 0 "$(measured unreachable)"
            differs 'scripts and frames' 0 "$(measured scripts)"
            within 'pixels of the smallest letters' 10 30 "$(measured letters)"
            within 'pixels of width' 1 $width "$(measured wide)"
        )"
    done
    within 'bytes of the page' 1000 2000000 "$(wc -c <"$2" | tr -d ' ')" >"$work/size"
    verdict "report_$1_is_at_most_two_megabytes" "$(cat "$work/size")"
}

# Pictures of the top of the page; `look` says its background, 0 to 255, the share of other
# pixels in percent, and how many colours there are.
page_is_seen() { # <case> <report>
    for width in 390 1280; do
        for style in 1:light:240:255 0:dark:0:40; do
            IFS=: read -r flag name least most <<END
$style
END
            frame "$2" $width 1600 ''
            verdict "report_$1_is_seen_${name}_at_${width}_pixels" "$(
                browse --blink-settings=preferredColorScheme="$flag" \
                    --window-size=$((width < 500 ? 500 : width)),1600 \
                    --screenshot="$work/shot.png" "file://$work/frame.html"
                "$report" --look "$work/shot.png" $width >"$work/look" 2>&1
                read -r background other colours <"$work/look"
                within background "$least" "$most" "$background"
                within 'percent of other pixels' 5 90 "$other"
                within colours 50 100000 "$colours"
            )"
        done
    done
}

# What these checks are worth: a page that asks the network, and a blank one.
mkdir "$work/parts" "$work/bad"
"$report" "$work/parts"
sed 's|</main>|<img src="http://localhost/x.png" alt="x"></main>|' "$work/parts/report.html" \
    >"$work/bad/report.html"
frame "$work/bad/report.html" 390 900 ''
verdict report_that_asks_the_network_is_noticed "$(
    case $(browse --dump-dom "file://$work/frame.html") in
    *'Content Security Policy'*) ;;
    *) echo 'expected a refusal on the console, got none' ;;
    esac
)"
echo '<!doctype html><title>blank</title>' >"$work/bad/report.html"
frame "$work/bad/report.html" 390 1600 ''
verdict report_that_is_blank_is_noticed "$(
    browse --window-size=500,1600 --screenshot="$work/shot.png" "file://$work/frame.html"
    "$report" --look "$work/shot.png" 390 >"$work/look"
    differs 'background, other pixels, colours' '255 0.00 1' "$(cat "$work/look")"
)"

page_is_whole of_all_parts "$work/parts/report.html" 11
page_is_seen of_all_parts "$work/parts/report.html"

# demo <name> <figures> [flags of a small run]: and its page
demo() {
    name=$1 figures=$2
    shift 2
    "$programs/$name" "$@" --out "$work/$name" >"$work/said" 2>&1 || sed 's/^/# /' "$work/said"
    page_is_whole "of_$name" "$work/$name/report.html" "$figures"
    page_is_seen "of_$name" "$work/$name/report.html"
}

demo hyperclean 11 --data "$data/mnist" --train 300 --validation 200 --inner-steps 20 \
    --outer-steps 3 --final-steps 20
demo tune_penalty 3 --train 100 --validation 100 --inner-steps 10 --outer-steps 3 --grid 4
demo rater 10 --train 600 --pool 400 --held-out 100 --outer-steps 3 --final-steps 10
demo distill 5 --hidden 16 --inner-steps 5 --outer-steps 20
demo tune_schedule 4 --train 300 --validation 100 --hidden 8 --inner-steps 10
demo reweight_cifar 8 --inner-steps 5 --outer-steps 2
demo augment_vit 5 --train 100 --validation 250 --steps 40
demo curate 9 --pool 400 --target 40 --inner-steps 10 --outer-steps 3 --final-steps 20 --starts 1
demo write 6 --train 20 --inner-steps 8 --outer-steps 5
demo influence 4 --train 300 --epochs 5 --queries 2 --subsets 8 --seeds 2
demo poison 8 --train 400 --validation 200 --clean 100 --inner-steps 20 --outer-steps 4 --orders 2

echo "1..$n"
exit $failed
