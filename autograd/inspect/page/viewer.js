// viewer.js: the page. A part of it is shown by a view, made by the function VIEWS has for its
// kind (tape.js, program.js, schedule.js), which says in words and draws what this file steps
// through. A view:
//
//   n, unit          how many steps there are, and what one is called
//   about, tiles     a sentence; numbers with their names
//   caption, hint    of the picture;  height, legend  its pixels, and what its colours are
//   draw(pen)        the picture: pen has context, width, height, at, colour(name), line()
//   find(x, y, pen)  which step is at a place of it, -1: none;  tip(i)  what that says
//   row(i)           the list's line: key, main, side, tag, more, colour; name, in boxes, and
//                    op, which with all others are what is searched
//   state(i, at)     of a line, the step being `at`: later, linked or nothing
//   say(at)          the step as a sentence
//   marks            places to go to: [step, name]
//   detail(at)       the step in full, as elements
const VIEWS = {}

const parts = JSON.parse(document.getElementById('data').textContent)
const $ = (id) => document.getElementById(id)
const still = matchMedia('(prefers-reduced-motion: reduce)')
const ROW = 46 // pixels, as .row is high
let view, at = 0, timer = 0

// An element: el('p', {class: 'dim'}, 'text', child).
function el(tag, given, ...children) {
    const x = document.createElement(tag)
    for (const [key, value] of Object.entries(given ?? {})) {
        if (key === 'onclick') x.addEventListener('click', value)
        else if (value !== undefined && value !== null) x.setAttribute(key, value)
    }
    x.append(...children.flat().filter((c) => c !== undefined && c !== null && c !== ''))
    return x
}

function bytesText(n) {
    const unit = ['B', 'kB', 'MB', 'GB', 'TB']
    let k = 0
    for (; k < 4 && n >= 1000; k++) n /= 1000
    return (k ? n.toPrecision(3) : n) + ' ' + unit[k]
}

function flopsText(n) {
    const unit = ['flop', 'kflop', 'Mflop', 'Gflop', 'Tflop']
    let k = 0
    for (; k < 4 && n >= 1000; k++) n /= 1000
    return (k ? n.toPrecision(3) : n) + ' ' + unit[k]
}

const numberText = (n) => n.toLocaleString('en')
const many = (n, one, more) => numberText(n) + ' ' + (n === 1 ? one : more ?? one + 's')
const nth = (k) => ['', 'first', 'second', 'third', 'fourth', 'fifth'][k] ?? k + 'th'
const orderColour = (k) => '--order' + Math.min(k, 3)

// Goes there from within the step in full, which is made anew: the focus stays in it.
function follow(i) {
    go(i)
    $('detail').focus({preventScroll: true})
}

// A step as a link to it.
function link(i, text) {
    return el('button', {class: 'link', type: 'button', onclick: () => follow(i)}, text ?? '%' + i)
}

// A formula, its %3 as links.
function linked(formula) {
    return formula.split(/(%\d+)/).map((part) =>
        /^%\d+$/.test(part) ? link(Number(part.slice(1))) : part)
}

// Names and what stands beside them; those without are left out.
function listOf(pairs) {
    return el('dl', null, pairs.filter(([, what]) => what?.length !== 0 && what !== undefined)
        .map(([name, what]) => el('div', null, el('dt', null, name), el('dd', null, what))))
}

// "f32 (64, 10)" of a node.
const typeText = (node) => node.s === '()' ? node.t : node.t + ' ' + node.s

// Nodes one below another under a heading, at most 24; without any, nothing.
function nodeList(heading, nodes, list, also) {
    const line = (k) => el('li', null, link(k), ` = ${nodes[k].f} `, also ? el('span', {class: 'dim'}, also(k)) : '')
    return list.length === 0 ? [] : [el('h3', null, heading), el('ul', {class: 'made mono'},
        list.slice(0, 24).map(line), list.length > 24 ? el('li', null, `and ${list.length - 24} more`) : '')]
}

// A node between what it reads and what reads it, at most six each.
function neighbours(i, inputs, users) {
    const MOST = 6
    const shown = (list) => list.length <= MOST ? list : list.slice(0, MOST - 1)
    const box = (k) => {
        const row = view.row(k)
        return el('button', {type: 'button', style: `--c:var(${row.colour})`, onclick: () => follow(k)},
            row.key + ' ' + row.name)
    }
    const column = (list, none) => el('div', null, list.length ? shown(list).map(box) :
        el('em', null, none), list.length > MOST ? el('em', null, `and ${list.length - MOST + 1} more`) : '')
    const rows = (list) => Math.max(1, Math.min(list.length, MOST))
    const tall = Math.max(rows(inputs), rows(users)) * 38 - 8
    const y = (k, n) => (tall - (n * 38 - 8)) / 2 + k * 38 + 15
    const curves = []
    inputs.slice(0, rows(inputs)).forEach((_, k) =>
        curves.push(`M31 ${y(k, rows(inputs))}C33.5 ${y(k, rows(inputs))} 33.5 ${tall / 2} 36 ${tall / 2}`))
    users.slice(0, rows(users)).forEach((_, k) =>
        curves.push(`M64 ${tall / 2}C66.5 ${tall / 2} 66.5 ${y(k, rows(users))} 69 ${y(k, rows(users))}`))
    const drawing = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
    drawing.setAttribute('viewBox', `0 0 100 ${tall}`)
    drawing.setAttribute('preserveAspectRatio', 'none')
    drawing.setAttribute('aria-hidden', 'true')
    for (const d of curves) {
        const path = document.createElementNS('http://www.w3.org/2000/svg', 'path')
        path.setAttribute('d', d)
        drawing.append(path)
    }
    const own = view.row(i)
    return el('div', {class: 'near', role: 'group', 'aria-label': 'What it reads, and what reads it'},
        drawing, column(inputs, 'a leaf'),
        el('div', null, el('b', {style: `--c:var(${own.colour})`}, own.key + ' ' + own.name)),
        column(users, 'nobody'))
}

// Of nodes with inputs in .i, the nodes that read each, once.
function usersOf(nodes) {
    const users = nodes.map(() => [])
    nodes.forEach((node, i) => new Set(node.i).forEach((k) => users[k].push(i)))
    return users
}

// The op of a node, and its rules; `of` what is to be said of it besides.
function ruleOf(node, of) {
    const rule = RULES[node.o]
    const part = (title, text) => el('div', {class: 'rule'}, el('b', null, title),
        text.startsWith('-') ? 'none' + text.slice(1) : text)
    if (!rule)
        return [el('h3', null, `The op ${node.o}${of ?? ''}`),
            el('p', {class: 'dim'}, 'A row of the program’s own. What its rule is shows in the nodes it made.')]
    return [el('h3', null, `The op ${node.o}${of ?? ''}`, rule[0] ? `: ${rule[0]}` : ''),
        part('backward (vjp): from the cotangent v', rule[1]),
        part('forward (jvp): from the tangent t', rule[2])]
}

// The list: rows that are in sight, and a screen or so around them.

function rowElement(i) {
    const row = view.row(i), state = i === at ? 'now' : view.state(i, at)
    return el('div', {
        class: 'row ' + state, role: 'option', id: 'row' + i, style: `--c:var(${row.colour});top:${i * ROW}px`,
        'aria-selected': String(i === at), 'aria-setsize': view.n, 'aria-posinset': i + 1,
        onclick: () => go(i),
    }, el('span', {class: 'mono'}, el('span', {class: 'key'}, row.key), row.main),
    el('span', {class: 'tag'}, row.tag ?? ''),
    el('span', {class: 'side'}, row.side ?? ''), el('span', {class: 'more'}, row.more ?? ''))
}

function showRows() {
    const list = $('list'), rows = $('rows')
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 8)
    const last = Math.min(view.n, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 8)
    rows.style.height = view.n * ROW + 'px'
    const shown = []
    for (let i = first; i < last; i++) shown.push(rowElement(i))
    if (at < first || at >= last) if (view.n) shown.push(rowElement(at))
    rows.replaceChildren(...shown)
    if (view.n) list.setAttribute('aria-activedescendant', 'row' + at)
    else list.removeAttribute('aria-activedescendant')
}

function scrollToRow() {
    const list = $('list'), top = at * ROW
    if (top < list.scrollTop + ROW || top > list.scrollTop + list.clientHeight - 2 * ROW)
        list.scrollTop = Math.max(0, top - list.clientHeight / 2 + ROW / 2)
}

// The picture.

function pen() {
    const canvas = $('picture'), style = getComputedStyle(document.documentElement)
    const width = $('frame').clientWidth, height = view.height(width)
    const scale = window.devicePixelRatio || 1
    const context = canvas.getContext('2d')
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
        canvas.width = Math.round(width * scale)
        canvas.height = Math.round(height * scale)
        canvas.style.height = height + 'px'
    }
    context.setTransform(scale, 0, 0, scale, 0, 0)
    context.clearRect(0, 0, width, height)
    context.font = '11.5px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif'
    const known = {}
    const colour = (name) => known[name] ??= style.getPropertyValue(name).trim()
    const line = (x0, y0, x1, y1, name, wide, dashes) => {
        context.strokeStyle = colour(name)
        context.lineWidth = wide
        context.setLineDash(dashes ?? [])
        context.beginPath()
        context.moveTo(x0, y0)
        context.lineTo(x1, y1)
        context.stroke()
        context.setLineDash([])
    }
    return {context, width, height, at, colour, line}
}

function showPicture() {
    if (view.n) view.draw(pen())
}

function pointed(event) {
    const box = $('picture').getBoundingClientRect()
    const x = event.clientX - box.left, y = event.clientY - box.top
    return {x, y, i: view.n ? view.find(x, y, {width: box.width, height: box.height}) : -1}
}

function showTip(event) {
    const {x, y, i} = pointed(event), tip = $('tip'), width = $('frame').clientWidth
    tip.hidden = i < 0
    if (i < 0) return
    tip.textContent = view.tip(i)
    tip.style.left = Math.max(0, Math.min(x + 12, width - tip.offsetWidth)) + 'px'
    tip.style.top = y + 16 + 'px'
}

// Stepping.

function showStep() {
    const said = view.n ? view.say(at) : `There is no ${view.unit}.`
    $('slider').value = at
    $('slider').setAttribute('aria-valuetext', said)
    // What the slider and the list say themselves, and what plays, is not said again.
    const quiet = timer || ['slider', 'list'].includes(document.activeElement?.id)
    $('said').setAttribute('aria-live', quiet ? 'off' : 'polite')
    $('said').textContent = said
    for (const [id, off] of [['first', at <= 0], ['back', at <= 0], ['next', at >= view.n - 1],
        ['last', at >= view.n - 1], ['play', view.n < 2]]) $(id).disabled = off
    $('marks').value = String(view.marks.filter(([step]) => step <= at).length - 1)
    $('detail').replaceChildren(...(view.n ? view.detail(at) : []))
    scrollToRow()
    showRows()
    showPicture()
}

function go(i) {
    const to = Math.max(0, Math.min(view.n - 1, i))
    if (to === at) return
    at = to
    showStep()
}

function goMark(by) {
    const steps = view.marks.map(([step]) => step)
    const to = by > 0 ? steps.find((step) => step > at) : steps.filter((step) => step < at).pop()
    if (to !== undefined) go(to)
}

function stop() {
    clearTimeout(timer)
    timer = 0
    $('play').classList.remove('playing')
    $('play').setAttribute('aria-label', 'Play')
}

// Some twenty seconds for a whole part, but no step under a fiftieth of a second.
function play() {
    if (timer) return stop()
    if (at >= view.n - 1) go(0)
    const pace = Math.max(still.matches ? 1000 : 20, Math.min(900, 20000 / view.n))
    const by = Math.max(1, Math.round(view.n / (20000 / pace)))
    const tick = () => {
        go(at + by)
        if (at >= view.n - 1) return stop()
        timer = setTimeout(tick, pace)
    }
    $('play').classList.add('playing')
    $('play').setAttribute('aria-label', 'Pause')
    timer = setTimeout(tick, pace)
}

function find() {
    const wanted = $('find').value.trim().toLowerCase()
    if (!wanted) return
    for (let k = 1; k <= view.n; k++) {
        const i = (at + k) % view.n
        if (Object.values(view.row(i)).join(' ').toLowerCase().includes(wanted)) {
            $('find').setAttribute('aria-invalid', 'false')
            return i === at ? undefined : go(i)
        }
    }
    $('find').setAttribute('aria-invalid', 'true')
    $('said').textContent = `Nothing here has “${wanted}” in it.`
}

const KEYS = {
    ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1),
    Home: () => go(0), End: () => go(view.n - 1),
    '[': () => goMark(-1), ']': () => goMark(1), p: play,
    '/': () => $('find').focus(),
}
const LIST_KEYS = {
    ArrowDown: () => go(at + 1), ArrowUp: () => go(at - 1),
    PageDown: () => go(at + 10), PageUp: () => go(at - 10),
}

function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !view.n) return
    if (event.key.length === 1 && !$('letters').checked) return
    const on = event.target
    if (on.id === 'find') {
        if (event.key === 'Enter') find()
        if (event.key === 'Escape') $('list').focus()
        return
    }
    if (on.tagName === 'SELECT' || on.getAttribute?.('role') === 'tab') return
    const act = KEYS[event.key] ?? (on.id === 'list' ? LIST_KEYS[event.key] : undefined)
    if (!act || on.id === 'slider' && !['[', ']', 'p', '/'].includes(event.key)) return
    event.preventDefault()
    if (event.key !== 'p') stop()
    act()
}

// Parts.

function showPart(k) {
    stop()
    view = VIEWS[parts[k].kind](parts[k])
    at = view.start ?? 0
    $('title').textContent = view.title
    $('about').textContent = view.about
    $('tiles').replaceChildren(...view.tiles.map(([name, value]) =>
        el('p', null, el('b', null, value), el('span', null, name))))
    $('caption').replaceChildren(view.caption, el('span', null, view.hint))
    $('legend').replaceChildren(...view.legend.map(([colour, name, shape]) =>
        el('li', {style: `--c:var(${colour})`}, el('i', {class: shape ?? ''}), name)))
    $('figure').hidden = view.n === 0
    $('controls').hidden = view.n === 0
    $('columns').hidden = view.n === 0
    $('picture').setAttribute('aria-label', `${view.caption}. ${view.hint} The list below says the same in words.`)
    $('list').setAttribute('aria-label', `Every ${view.unit}, in order`)
    $('slider').max = Math.max(0, view.n - 1)
    $('marks').replaceChildren(...view.marks.map(([, name], m) => el('option', {value: m}, name)))
    $('marks').hidden = view.marks.length < 2
    for (const tab of $('tabs').children) {
        tab.setAttribute('aria-selected', String(tab.id === 'tab' + k))
        tab.tabIndex = tab.id === 'tab' + k ? 0 : -1
        if (!tab.tabIndex) tab.scrollIntoView({block: 'nearest', inline: 'center'})
    }
    if (parts.length > 1) $('part').setAttribute('aria-labelledby', 'tab' + k)
    $('list').scrollTop = 0
    showStep()
}

function makeTabs() {
    if (parts.length < 2) return
    $('tabs').hidden = false
    $('part').setAttribute('role', 'tabpanel')
    $('tabs').append(...parts.map((part, k) => el('button', {
        type: 'button', role: 'tab', id: 'tab' + k, 'aria-controls': 'part', onclick: () => showPart(k),
    }, part.title)))
    $('tabs').addEventListener('keydown', (event) => {
        const by = {ArrowRight: 1, ArrowLeft: -1}[event.key]
        if (!by) return
        const k = (Number(event.target.id.slice(3)) + by + parts.length) % parts.length
        event.preventDefault()
        showPart(k)
        $('tab' + k).focus()
    })
}

function showPage() {
    makeTabs()
    for (const [id, act] of [['first', () => go(0)], ['back', () => go(at - 1)], ['next', () => go(at + 1)],
        ['last', () => go(view.n - 1)]]) $(id).addEventListener('click', () => { stop(); act() })
    $('play').addEventListener('click', play)
    $('slider').addEventListener('input', () => { stop(); go(Number($('slider').value)) })
    $('marks').addEventListener('change', () => go(view.marks[$('marks').value][0]))
    $('list').addEventListener('scroll', () => requestAnimationFrame(showRows), {passive: true})
    $('picture').addEventListener('click', (event) => { const {i} = pointed(event); if (i >= 0) go(i) })
    $('picture').addEventListener('pointermove', showTip)
    $('picture').addEventListener('pointerleave', () => $('tip').hidden = true)
    document.addEventListener('keydown', onKey)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', showPicture)
    showPart(0)
    document.title = 'hypertape: ' + parts[0].title
    new ResizeObserver(showPicture).observe($('frame'))
}
