#!/bin/sh
# SPDX-License-Identifier: MIT
# test_viewer_browser.sh: pages of tapes, programs and bilevel runs in headless Chromium, in
# TAP: nothing on the console, as many steps as the library says, stepped through by keys,
# buttons and slider; opened in two seconds; text against its ground, names of what has no
# text; no wider than a phone; pictures that are not blank. Skipped without Chromium.
# Usage: test_viewer_browser.sh <make_viewer_pages> <test_report> <folder of built examples>
set -u
make=$1 report=$2 programs=$3
# shellcheck source=tests/support/browser.sh
. "$(dirname "$0")/../support/browser.sh"

# "name value" lines about a page that has been driven.
measure() { # <page> <width> <flags>
    frame "$1" "$2" 900 "measure(this.contentWindow, this.contentDocument)"
    cat >>"$work/frame.html" <<'END'
<script>
const colour = (text) => (text.match(/[\d.]+/g) ?? []).map(Number)
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) =>
    c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
function ground(w, x) {
    for (; x; x = x.parentElement) {
        const c = colour(w.getComputedStyle(x).backgroundColor)
        if (c.length === 3 || c[3] === 1) return c
    }
    return [255, 255, 255]
}
function contrast(w, x) {
    const [a, b] = [light(colour(w.getComputedStyle(x).color)), light(ground(w, x))]
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
}
const wait = (ms) => new Promise((done) => setTimeout(done, ms))
async function measure(w, d) {
    const all = (what, from) => [...(from ?? d).querySelectorAll(what)]
    const $ = (id) => d.getElementById(id)
    const seen = (x) => x.offsetParent !== null
    const key = (key, on) => (on ?? d.body).dispatchEvent(new w.KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}))
    const now = () => Number($('slider').value)
    const time = w.performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd
    const tabs = all('[role=tab]'), found = {tabs: tabs.length, opened: time, trail: [], said: new Set(), wordless: 0, faint: 0, rows: 0}
    const look = () => {
        found.said.add($('said').textContent)
        found.rows = Math.max(found.rows, all('.row').length)
        const names = all('button, canvas, [role=listbox], select, input').filter(seen)
        found.wordless += names.filter((x) => !(x.getAttribute('aria-label') ?? x.labels?.[0]?.textContent ?? x.textContent).trim()).length
        const words = all('h1, h2, h3, p, b, span, dt, dd, li, button, em, figcaption, option, summary').filter((x) =>
            seen(x) && !x.disabled && [...x.childNodes].some((c) => c.nodeType === 3 && c.data.trim()))
        const faint = words.filter((x) => contrast(w, x) < 4.5)
        found.faint += faint.length
        for (const x of faint.slice(0, 3)) found.example = `${x.tagName}.${x.className} ${x.textContent.slice(0, 20)} ${contrast(w, x).toFixed(2)}`
    }
    const colours = () => {
        const {width, height} = $('picture'), data = $('picture').getContext('2d').getImageData(0, 0, width, height).data
        const set = new Set()
        for (let k = 0; k < data.length; k += 4) if (data[k + 3]) set.add(data[k] << 16 | data[k + 1] << 8 | data[k + 2])
        return set.size
    }
    found.steps = Number($('slider').max) + (seen($('controls')) ? 1 : 0)
    look()
    if (found.steps) {
        found.trail.push(...[() => key('Home'), () => key('ArrowRight'), () => key('ArrowRight'), () => key('ArrowLeft'),
            () => key('End'), () => $('first').click(), () => $('next').click(), () => key('ArrowDown', $('list')),
            () => { $('slider').value = 5; $('slider').dispatchEvent(new w.Event('input')) }, () => $('back').click(),
            () => all('.row')[0].click()].map((act) => { act(); look(); return now() }))
        key('Home')
        $('letters').checked = false
        key(']')
        found.letters = now()
        $('letters').checked = true
        key(']')
        found.mark = now() > 0
        look()
        found.colours = colours()
        found.chosen = all('[aria-selected=true][role=option]').length
        const active = $(($('list').getAttribute('aria-activedescendant')))
        found.active = active ? Number(active.getAttribute('aria-posinset')) - 1 - now() : 'none'
        found.size = active ? active.getAttribute('aria-setsize') - found.steps : 'none'
        found.detail = all('h2', $('detail')).length
        found.still = w.getComputedStyle(active).transitionDuration
        for (let k = 0; k < 40 && k < found.steps; k++) { key('ArrowRight'); look() }
        key('Home')
        const wanted = all('.row')[2].querySelector('.side').textContent
        $('find').value = wanted
        key('Enter', $('find'))
        found.searched = now() > 0 && $('row' + now()).textContent.includes(wanted)
        $('find').value = 'nothing has this'
        key('Enter', $('find'))
        found.missed = $('find').getAttribute('aria-invalid')
        key('Home')
        key('p')
        await wait(2500)
        const reached = now()
        key('p')
        await wait(2500)
        found.played = reached > 0 && now() === reached
    }
    found.tiles = all('#tiles p').map((x) => x.textContent).join('|')
    const bytes = (text) => (text ?? [0, 0, 'B'])[1] * {B: 1, kB: 1e3, MB: 1e6, GB: 1e9}[(text ?? [0, 0, 'B'])[2]]
    found.peak = bytes($('caption').textContent.match(/at most ([\d.]+) (\w+)/))
    found.arena = bytes(found.tiles.match(/([\d.]+) (\w*B)arena/))
    found.wide = d.documentElement.scrollWidth
    for (const tab of tabs) { tab.click(); key('ArrowRight'); look() }
    if (tabs.length) key('ArrowRight', tabs[tabs.length - 1])
    found.turned = tabs.length === 0 || tabs[0].getAttribute('aria-selected')
    found.said = found.said.size
    found.trail = found.trail.join(',')
    const text = Object.entries(found).map((x) => x.join(' ')).join('\n')
    document.body.innerHTML = ''
    const pre = document.createElement('pre')
    pre.textContent = '\n\n' + text + '\n'
    document.body.append(pre)
}
</script>
END
    shift 2
    browse "$@" --virtual-time-budget=20000 --dump-dom "file://$work/frame.html"
}

measured() { # <name>
    sed -n "s/^$1 //p" "$work/dom"
}

# page_is_driven <page> <steps> <parts>
page_is_driven() {
    for width in 390 1280; do
        verdict "viewer_$1_is_driven_at_${width}_pixels" "$(
            measure "$work/$1.html" $width
            differs steps "$2" "$(measured steps)"
            differs tabs "$3" "$(measured tabs)"
            within 'milliseconds to open' 0 2000 "$(measured opened)"
            differs 'steps after Home, right, right, left, End, first, next, down, slider, back, the first row' \
                "0,1,2,1,$(($2 - 1)),0,1,2,5,4,0" "$(measured trail)"
            differs 'whether find finds' true "$(measured searched)"
            differs 'whether find says that it does not' true "$(measured missed)"
            differs 'whether it plays, and pauses' true "$(measured played)"
            differs 'whether tabs turn by keys' true "$(measured turned)"
            differs 'the step after ], letters being off' 0 "$(measured letters)"
            differs 'whether ] goes on' true "$(measured mark)"
            within 'sentences said' $(($2 < 20 ? $2 - 1 : 20)) 1000 "$(measured said)"
            within 'colours of the picture' 4 100000 "$(measured colours)"
            within 'rows in the page' 5 60 "$(measured rows)"
            differs 'rows chosen' 1 "$(measured chosen)"
            differs 'the active row, from the step' 0 "$(measured active)"
            differs 'rows there are said to be, from the steps' 0 "$(measured size)"
            differs 'headings of the step in full' 1 "$(measured detail)"
            differs 'parts without a name' 0 "$(measured wordless)"
            differs "texts too faint, such as $(measured example)" 0 "$(measured faint)"
            within 'pixels of width' 1 $width "$(measured wide)"
        )"
    done
    verdict "viewer_$1_is_driven_in_the_dark_without_motion" "$(
        measure "$work/$1.html" 1280 --blink-settings=preferredColorScheme=0 --force-prefers-reduced-motion
        differs "texts too faint, such as $(measured example)" 0 "$(measured faint)"
        differs 'time rows take to change' 0s "$(measured still)"
    )"
    verdict "viewer_$1_is_at_most_three_megabytes" \
        "$(within 'bytes of the page' 1000 3000000 "$(wc -c <"$work/$1.html" | tr -d ' ')")"
}

# Pictures of the top of the page; `look` says its background, 0 to 255, the share of other
# pixels in percent, and how many colours there are.
page_is_seen() { # <page>
    for width in 390 1280; do
        for style in 1:light:240:255 0:dark:0:40; do
            IFS=: read -r flag name least most <<END
$style
END
            frame "$work/$1.html" $width 1200 ''
            verdict "viewer_$1_is_seen_${name}_at_${width}_pixels" "$(
                browse --blink-settings=preferredColorScheme="$flag" \
                    --window-size=$((width < 500 ? 500 : width)),1200 \
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

"$make" "$work" >"$work/says" || echo "# $make failed"
says() { # <page> <field>: what the library says of it
    awk -v page="$1" "\$1 == page { print \$$2 }" "$work/says"
}

# What these checks are worth: a script that fails, and a page that says too few.
sed 's/^showPage()/showNothing()/' "$work/scalars.html" >"$work/broken.html"
verdict viewer_that_fails_is_noticed "$(
    case $(measure "$work/broken.html" 1280) in
    *'showNothing is not defined'*) ;;
    *) echo 'expected the error on the console, got none' ;;
    esac
)"

page_is_driven scalars "$(says scalars 3)" 0
page_is_driven transformer "$(says transformer 3)" 0
page_is_driven transformer_program "$(says transformer_program 3)" 0
verdict viewer_of_a_program_has_alive_what_the_arena_holds \
    "$(within 'the most bytes alive, in arenas' 0.9 1.005 "$(
        measure "$work/transformer_program.html" 1280
        awk -v peak="$(measured peak)" -v arena="$(measured arena)" 'BEGIN { print (arena > 0 ? peak / arena : 0) }'
    )")"
page_is_driven chain "$(says chain 3)" 0
verdict viewer_of_a_transformer_has_at_least_1500_nodes \
    "$(within nodes 1500 100000 "$(says transformer 3)")"
page_is_driven unroll 132 6
# Those of lessons: a line of data a node, and of 30 steps, states kept and states forgotten.
"$programs/02_backward_sweep" --html "$work/lesson_2.html" >/dev/null
page_is_driven lesson_2 "$(grep -c '^{"i":' "$work/lesson_2.html")" 0
"$programs/10_unroll" --html "$work/lesson_10.html" >/dev/null
page_is_driven lesson_10 150 6

measure "$work/empty.html" 390 >"$work/complaints"
verdict viewer_of_an_empty_tape_says_so "$(
    cat "$work/complaints"
    differs steps 0 "$(measured steps)"
)"
for page in unroll unroll_all unroll_forward unroll_implicit; do
    measure "$work/$page.html" 1280 >"$work/complaints"
    verdict "viewer_of_${page}_counts_the_steps_the_run_made" "$(
        cat "$work/complaints"
        measured tiles | tr '|' '\n' >"$work/tiles"
        differs 'steps run' "$(says $page 2)" "$(sed -n 's/steps run//p' "$work/tiles")"
        [ $page = unroll_forward ] ||
            differs 'steps backward' "$(says $page 3)" "$(sed -n 's/steps backward//p' "$work/tiles")"
    )"
done

page_is_seen scalars
page_is_seen transformer_program
page_is_seen unroll

echo "1..$n"
exit $failed
