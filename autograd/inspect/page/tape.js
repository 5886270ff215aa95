// tape.js: a tape. Its picture has a lane for nodes that were called, and one for each order of
// derivative, whose nodes stand above the node whose rule made them: so that stepping on walks
// right through the calls and, where a sweep goes backward, left again.
const BY_CALL = 0, BY_RULE = 1, BY_VJP = 2, BY_JVP = 3

// Of every node: order, kind and node of what made it; where sweeps start.
function tapeOrigins(part) {
    const n = part.nodes.length, made = new Array(n), sweeps = []
    let k = -1
    const called = [0, 0, 0, BY_CALL]
    for (let i = 0; i < n; i++) {
        while (k + 1 < part.origins.length && part.origins[k + 1][0] <= i) k++
        const [, node, order, kind] = k < 0 ? called : part.origins[k]
        made[i] = {node, order, kind}
    }
    for (const [first, node, order, kind] of part.origins) {
        if (kind < BY_VJP) continue
        const last = sweeps[sweeps.length - 1]
        if (last && last.first === first && last.kind === kind) last.from.push(node)
        else sweeps.push({first, order, kind, from: [node]})
    }
    return {made, sweeps: sweeps.filter((s) => s.first < n)}
}

// What the picture and the words share. Places: of a called node its rank among them, of another
// that of whose rule made it; level: how many of its lane stand there already.
function tapeModel(part) {
    const nodes = part.nodes, n = nodes.length, {made, sweeps} = tapeOrigins(part)
    const laneOf = (i) => Math.min(made[i].order, 3)
    const place = new Int32Array(n), level = new Int32Array(n), tall = [1, 1, 1, 1], count = [0, 0, 0, 0]
    const stacked = new Map(), rulesMade = new Map()
    for (let i = 0; i < n; i++) {
        const m = made[i], lane = laneOf(i)
        place[i] = lane ? place[m.node] : count[0]
        const key = place[i] * 4 + lane
        level[i] = stacked.get(key) ?? 0
        stacked.set(key, level[i] + 1)
        tall[lane] = Math.max(tall[lane], level[i] + 1)
        count[lane]++
        if (m.kind !== BY_RULE) continue
        if (!rulesMade.has(m.node)) rulesMade.set(m.node, [])
        rulesMade.get(m.node).push(i)
    }
    return {
        nodes, n, made, sweeps, place, level, tall, count, laneOf,
        users: usersOf(nodes), lanes: count.findLastIndex((k) => k > 0) + 1 || 1,
        rulesMade: (i) => rulesMade.get(i) ?? [],
        sweepAt: (i) => sweeps.findLast((s) => s.first <= i),
        colour: (i) => nodes[i].o === 'input' ? '--input' :
            nodes[i].o === 'constant' && !made[i].order ? '--constant' : orderColour(made[i].order),
    }
}

// The lanes, from the top the highest order first, and the cells in them.
function tapeCells({n, place, level, tall, count, lanes, laneOf}) {
    const left = 30
    const lane = (k, pen) => {
        const room = pen.height - 26, share = (l) => (l ? 1 : 1.1) / (lanes + 0.1)
        let top = 4
        for (let l = lanes - 1; l > k; l--) top += room * share(l)
        return {top, height: room * share(k) - 8, bottom: top + room * share(k) - 8}
    }
    const wide = (pen) => (pen.width - left - 4) / Math.max(count[0], 1)
    const cell = (i, pen) => {
        const l = laneOf(i), box = lane(l, pen)
        const high = l ? Math.min(22, box.height / tall[l]) : Math.min(24, box.height * 0.45)
        return {x: left + place[i] * wide(pen), y: box.bottom - (level[i] + 1) * high, wide: wide(pen), high}
    }
    const find = (x, y, pen) => {
        let best = -1, least = 12
        for (let i = 0; i < n; i++) {
            const c = cell(i, pen)
            const away = Math.max(c.x - x, x - c.x - c.wide, 0) + Math.max(c.y - y, y - c.y - c.high, 0)
            if (away < least) [best, least] = [i, away]
        }
        return best
    }
    return {left, lane, cell, find, middle: (p, pen) => left + (p + 0.5) * wide(pen)}
}

function tapePicture(tape) {
    const {nodes, n, made, place, level, lanes, laneOf, sweepAt, colour} = tape
    const {left, lane, cell, find, middle} = tapeCells(tape)

    // Narrow ones fill whole pixels, each once: neither seams, nor what is faint many times over.
    const fill = (pen, i, alpha, drawn) => {
        const c = cell(i, pen), g = pen.context, gap = c.wide > 6 ? 1 : 0
        if (!gap) {
            const from = Math.floor(c.x), to = Math.max(Math.floor(c.x + c.wide), from + 1)
            const key = laneOf(i) * n + level[i]
            if (drawn.get(key) === from) return c
            drawn.set(key, from)
            c.x = from
            c.wide = to - from
        }
        g.globalAlpha = alpha
        g.fillStyle = pen.colour(colour(i))
        const edge = c.high > 4 ? 1 : 0
        g.fillRect(c.x + gap, c.y + edge, c.wide - 2 * gap, Math.max(c.high - 2 * edge, 0.7))
        g.globalAlpha = 1
        return c
    }
    // From what a node reads: over the calls in an arc, else from lane to lane.
    const arcs = (pen, i) => {
        const g = pen.context, c = cell(i, pen), x = middle(place[i], pen)
        g.lineWidth = 1.5
        for (const k of new Set(nodes[i].i)) {
            const f = cell(k, pen), fx = middle(place[k], pen)
            const arc = !laneOf(i) && !laneOf(k) || Math.abs(f.y - c.y) < 1
            const fy = arc || f.y > c.y ? f.y : f.y + f.high
            const y = arc || f.y <= c.y ? c.y : c.y + c.high
            const up = arc ? Math.min(26, 8 + Math.abs(x - fx) / 6) : (fy - y) / 3
            g.strokeStyle = pen.colour(colour(k))
            g.beginPath()
            g.moveTo(fx, fy)
            g.bezierCurveTo(fx, fy - up, x, arc ? y - up : y + up, x, y)
            g.stroke()
        }
    }
    const label = (pen, i, c) => {
        const g = pen.context, text = nodes[i].n ?? nodes[i].o
        if (c.high < 13 || g.measureText(text).width > c.wide - 6) return
        g.fillStyle = pen.colour('--paper')
        g.textAlign = 'center'
        g.fillText(text, c.x + c.wide / 2, c.y + c.high / 2 + 4)
    }
    // Where the sweep at hand has been over the calls, which way it came here, and whose rule it is.
    const trail = (pen) => {
        const i = pen.at, m = made[i], g = pen.context, y = lane(0, pen).bottom + 9
        if (m.kind === BY_CALL) return
        const s = sweepAt(i), x = middle(place[i], pen)
        let low = place[i], high = place[i], before = place[i]
        for (let k = i; k >= s.first; k--) {
            low = Math.min(low, place[k])
            high = Math.max(high, place[k])
            if (before === place[i]) before = place[k]
        }
        const way = Math.sign(place[i] - before) || (s.kind === BY_VJP ? -1 : 1)
        const name = orderColour(m.order), c = cell(i, pen)
        g.globalAlpha = 0.45
        pen.line(middle(low, pen), y, middle(high, pen), y, name, 3)
        g.globalAlpha = 1
        pen.line(middle(before, pen), y, x, y, name, 3)
        g.fillStyle = pen.colour(name)
        g.beginPath()
        g.moveTo(x + 6 * way, y)
        g.lineTo(x - 4 * way, y - 6)
        g.lineTo(x - 4 * way, y + 6)
        g.fill()
        pen.line(x, c.y + c.high, x, cell(m.node, pen).y, name, 1.5, [4, 3])
    }
    const frame = (pen, i, wide) => {
        const c = cell(i, pen), g = pen.context
        g.strokeStyle = pen.colour('--ink')
        g.lineWidth = wide
        g.strokeRect(c.x - 1, c.y - 1, Math.max(c.wide + 2, 5), c.high + 2)
    }
    const ground = (pen) => {
        const g = pen.context
        g.textAlign = 'left'
        for (let l = 0; l < lanes; l++) {
            const {bottom} = lane(l, pen)
            g.fillStyle = pen.colour('--dim')
            g.fillText(['calls', 'd1', 'd2', 'd3+'][l], 0, bottom - (l ? 4 : 8), left)
            pen.line(left, bottom + 0.5, pen.width, bottom + 0.5, '--line', 1)
        }
    }
    const draw = (pen) => {
        const drawn = new Map()
        ground(pen)
        trail(pen)
        arcs(pen, pen.at)
        for (let i = 0; i < n; i++) {
            const c = fill(pen, i, i <= pen.at ? 1 : 0.25, drawn)
            if (c.wide > 24 && i <= pen.at) label(pen, i, c)
        }
        if (made[pen.at].kind !== BY_CALL) frame(pen, made[pen.at].node, 2)
        frame(pen, pen.at, 2.5)
    }
    return {draw, find, height: (width) => 34 + lanes * (width < 520 ? 62 : 74)}
}

// Names of what there is on a tape.
const nameText = (node) => node.n ? ` “${node.n}”` : ''
const valueText = ({v, s, r}) => !v ? '' : s === '()' ? v[0] : `[${v.join(', ')}${r ? ', …' : ''}]`
const direction = (s) => s.kind === BY_VJP ? 'backward from' : 'forward from'
const sweepName = (s) => `d${s.order} ${direction(s)} ` +
    s.from.slice(0, 3).map((k) => '%' + k).join(', ') + (s.from.length > 3 ? ' …' : '')

function tapeSay({nodes, n, made, sweepAt}, i) {
    const m = made[i], node = nodes[i], s = sweepAt(i)
    const what = `%${i} = ${node.f}${nameText(node)}` + (node.v ? `, which is ${valueText(node)}.` : '.')
    const said = m.kind === BY_CALL ? what : m.kind === BY_RULE ?
        `${nth(m.order)} derivative, ${s.kind === BY_VJP ? 'backward' : 'forward'}: the rule of %${m.node} = ` +
            `${nodes[m.node].f} makes ${what}` :
        `the ${nth(m.order)} derivative begins, ${direction(s)} %${m.node}: ` +
            `its ${s.kind === BY_VJP ? 'cotangent' : 'tangent'} is ${what}`
    return `${i + 1} of ${n}: ${said}`
}

// Of the sweep that made node i: what its rule read there and did not make, and all that it made.
function tapeRuleAtWork({nodes, made, rulesMade, sweepAt}, i) {
    const m = made[i]
    if (m.kind !== BY_RULE) return []
    const rule = rulesMade(m.node).filter((k) => sweepAt(k) === sweepAt(i))
    const came = new Set(rule.flatMap((k) => nodes[k].i)
        .filter((k) => made[k].order === m.order && !rule.includes(k)))
    return [...nodeList(`What came in to the rule of %${m.node}`, nodes, [...came]),
        ...nodeList(`All that the rule of %${m.node} made here`, nodes, rule),
        el('p', {class: 'dim'}, 'What exists already is not made again; where cotangents come by several ways, ' +
            'their sum is made with the last.')]
}

function tapeDetail(tape, i) {
    const {nodes, made, users, sweeps, rulesMade} = tape, node = nodes[i], m = made[i], maker = nodes[m.node]
    const ofMaker = m.kind === BY_RULE && maker.o !== node.o
    const by = {
        [BY_RULE]: () => ['the rule of ', link(m.node), ' ' + maker.o],
        [BY_VJP]: () => ['the start, backward, of ', link(m.node)],
        [BY_JVP]: () => ['the start, forward, of ', link(m.node)],
    }[m.kind]
    const starts = sweeps.filter((s) => s.from.includes(i)).slice(0, 8)
    const value = node.c ? `changed since by ${node.c}` : node.v ? '= ' + valueText(node) : ''
    return [el('h2', {class: 'mono'}, `%${i} = `, linked(node.f)),
        ...value ? [el('p', {class: 'value mono'}, value)] : [],
        neighbours(i, [...new Set(node.i)], users[i]),
        listOf([
            ['name', node.n], ['type', typeText(node)],
            ['bytes', bytesText(node.b) + (node.w ? ', a view: none of its own' : '')],
            ['least, mean, largest', node.r?.join(', ')],
            [m.order ? 'by the call at' : 'called at', node.l],
            ['derivative', m.order ? nth(m.order) : undefined], ['made by', by?.()],
            ['a derivative starts here', starts.flatMap((s) => [link(s.first, sweepName(s)), ' '])]]),
        ...ofMaker ? ruleOf(maker, ` of %${m.node}, which made this`) : [],
        ...ruleOf(node, m.kind === BY_RULE && !ofMaker ? ', whose rule made this' : ''),
        ...tapeRuleAtWork(tape, i),
        ...nodeList('What its rule made', nodes, rulesMade(i), (k) => 'd' + made[k].order)]
}

// A place in the source, of which the end, the line, is never left out.
const shortSite = (site) => site.length > 26 ? '…' + site.slice(-25) : site

function tapeRow({nodes, made, colour}, i) {
    const node = nodes[i], m = made[i]
    return {
        key: '%' + i, op: node.o, name: node.n ?? node.o, main: node.f,
        side: [typeText(node), valueText(node)].filter(Boolean).join('  = '),
        tag: [node.n, m.kind === BY_CALL ? '' :
            m.kind === BY_RULE ? `d${m.order} by %${m.node}` : `d${m.order} starts`].filter(Boolean).join(', '),
        more: shortSite(node.l ?? ''), colour: colour(i),
    }
}

VIEWS.tape = (part) => {
    const tape = tapeModel(part), {nodes, n, made, sweeps, lanes, count} = tape
    const bytes = nodes.reduce((sum, node) => sum + (node.w ? 0 : node.b), 0)
    const orders = [1, 2, 3].slice(0, lanes - 1)
    return {
        n, unit: 'node', title: part.title === 'eager tape' ? 'A tape, eager' : 'A tape, recorded',
        about: n ? 'Nodes in the order they came to be. A derivative’s rules append nodes too: from where one ' +
            'starts, stepping on follows it from rule to rule.' : 'An empty tape.',
        tiles: [['nodes', numberText(n)], ['called', numberText(count[0])],
            ...orders.map((k) => [k < 3 ? `of a ${nth(k)} derivative` : 'of higher ones', numberText(count[k])]),
            ['of values', bytesText(bytes)]],
        caption: 'The tape', hint: 'From left to right the calls' +
            (lanes > 1 ? '; above each, what its rule made, by order of derivative.' : '.'),
        ...tapePicture(tape),
        legend: [['--input', 'inputs'], ['--constant', 'constants'], ['--order0', 'called'],
            ...orders.map((k) => [orderColour(k), k < 3 ? `${nth(k)} derivative` : 'third and more'])],
        marks: [[0, 'calls: the beginning'], ...sweeps.map((s) => [s.first, sweepName(s)])],
        say: (i) => tapeSay(tape, i), detail: (i) => tapeDetail(tape, i), row: (i) => tapeRow(tape, i),
        tip: (i) => `%${i} = ${nodes[i].f}${nameText(nodes[i])} ${typeText(nodes[i])}`,
        state: (i, now) => nodes[now].i.includes(i) || made[now].order && made[now].node === i ? 'linked' :
            i > now ? 'later' : '',
    }
}
