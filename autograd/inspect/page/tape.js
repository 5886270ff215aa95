// tape.js: a tape. Its picture has a lane for nodes that were called, and one for each order of
// derivative, whose nodes stand above the node whose rule made them: so that stepping on walks
// right through the calls and, where a sweep goes backward, left again.
const BY_CALL = 0, BY_RULE = 1, BY_VJP = 2

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

function tapeColour(node, made) {
    if (node.o === 'input') return '--input'
    if (node.o === 'constant' && !made.order) return '--constant'
    return orderColour(made.order)
}

VIEWS.tape = (part) => {
    const nodes = part.nodes, n = nodes.length, users = usersOf(nodes)
    const {made, sweeps} = tapeOrigins(part)
    const bytes = nodes.reduce((sum, node) => sum + (node.w ? 0 : node.b), 0)
    const lanes = 1 + made.reduce((most, m) => Math.max(most, Math.min(m.order, 3)), 0)
    // Places: of a called node its rank among them, of another that of whose rule made it; and
    // how many of its lane stand there already.
    const place = new Int32Array(n), level = new Int32Array(n), tall = new Int32Array(4).fill(1)
    const rulesMade = new Map()
    const madeBy = (i) => rulesMade.get(i) ?? rulesMade.set(i, []).get(i)
    let calls = 0
    const stacked = new Map()
    for (let i = 0; i < n; i++) {
        const m = made[i], lane = Math.min(m.order, 3)
        place[i] = m.order ? place[m.node] : calls++
        const key = place[i] * 4 + lane
        level[i] = lane ? stacked.get(key) ?? 0 : 0
        stacked.set(key, level[i] + 1)
        tall[lane] = Math.max(tall[lane], level[i] + 1)
        if (m.kind === BY_RULE) madeBy(m.node).push(i)
    }
    const sweepAt = (i) => sweeps.filter((s) => s.first <= i).pop()
    const direction = (s) => s.kind === BY_VJP ? 'backward from' : 'forward from'
    const sweepName = (s) => `d${s.order} ${direction(s)} ${s.from.slice(0, 3).map((k) => '%' + k).join(', ')}` +
        (s.from.length > 3 ? ' …' : '')
    const value = (node) => node.v ? (node.s === '()' ? node.v[0] : `[${node.v.join(', ')}${node.r ? ', …' : ''}]`) : ''
    const type = (node) => node.s === '()' ? node.t : node.t + ' ' + node.s
    const called = (node) => node.n ? ` “${node.n}”` : ''

    const say = (i) => {
        const m = made[i], node = nodes[i], what = `%${i} = ${node.f}${called(node)}`
        const end = node.v ? `, which is ${value(node)}.` : '.'
        if (m.kind === BY_CALL) return `${i + 1} of ${n}: ${what}${end}`
        const s = sweepAt(i), way = s.kind === BY_VJP ? 'backward' : 'forward'
        if (m.kind === BY_RULE)
            return `${i + 1} of ${n}: ${nth(m.order)} derivative, ${way}: the rule of %${m.node} = ` +
                `${nodes[m.node].f} makes ${what}${end}`
        return `${i + 1} of ${n}: the ${nth(m.order)} derivative begins, ${direction(s)} %${m.node}: ` +
            `${way === 'backward' ? 'its cotangent' : 'its tangent'} is ${what}${end}`
    }

    const lane = (k, pen) => { // from the top: highest order first
        const room = pen.height - 26, share = [1.1, 1, 1, 1]
        let sum = 0
        for (let l = 0; l < lanes; l++) sum += share[l]
        let top = 4
        for (let l = lanes - 1; l > k; l--) top += room * share[l] / sum
        return {top, height: room * share[k] / sum - 8}
    }
    const left = 30
    const cell = (i, pen) => {
        const l = Math.min(made[i].order, 3), box = lane(l, pen)
        const wide = (pen.width - left - 4) / Math.max(calls, 1)
        if (!l) {
            const high = Math.min(24, box.height * 0.45)
            return {x: left + place[i] * wide, y: box.top + box.height - high, wide, high}
        }
        const high = Math.min(22, box.height / tall[l])
        return {x: left + place[i] * wide, y: box.top + box.height - (level[i] + 1) * high, wide, high}
    }
    const middle = (i, pen) => { const c = cell(i, pen); return [c.x + c.wide / 2, c.y + c.high / 2, c] }

    // Narrow ones fill whole pixels, each once: neither seams, nor what is faint many times over.
    const fill = (pen, i, alpha, drawn) => {
        const c = cell(i, pen), g = pen.context, gap = c.wide > 6 ? 1 : 0
        if (!gap) {
            const from = Math.floor(c.x), to = Math.max(Math.floor(c.x + c.wide), from + 1)
            const key = Math.min(made[i].order, 3) * n + level[i]
            if (drawn.get(key) === from) return c
            drawn.set(key, from)
            c.x = from
            c.wide = to - from
        }
        g.globalAlpha = alpha
        g.fillStyle = pen.colour(tapeColour(nodes[i], made[i]))
        g.fillRect(c.x + gap, c.y + (c.high > 4 ? 1 : 0), Math.max(c.wide - 2 * gap, 0.7), Math.max(c.high - (c.high > 4 ? 2 : 0), 0.7))
        g.globalAlpha = 1
        return c
    }
    // From what a node reads: over the calls in an arc, else from lane to lane.
    const arcs = (pen, i) => {
        const g = pen.context, [x, , c] = middle(i, pen)
        g.lineWidth = 1.5
        for (const k of new Set(nodes[i].i)) {
            const [fx, , f] = middle(k, pen)
            const arc = !made[i].order && !made[k].order || Math.abs(f.y - c.y) < 1
            const fy = arc || f.y > c.y ? f.y : f.y + f.high, y = arc || f.y <= c.y ? c.y : c.y + c.high
            const up = arc ? Math.min(26, 8 + Math.abs(x - fx) / 6) : (fy - y) / 3
            g.strokeStyle = pen.colour(tapeColour(nodes[k], made[k]))
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
    // Where the sweep at hand has been over the calls, and which way it came here.
    const trail = (pen) => {
        const i = pen.at, m = made[i], g = pen.context
        if (m.kind === BY_CALL) return
        const s = sweepAt(i), box = lane(0, pen), y = box.top + box.height + 9
        const wide = (pen.width - left - 4) / Math.max(calls, 1), mid = (p) => left + (p + 0.5) * wide
        let low = place[i], high = place[i], before = place[i]
        for (let k = i; k >= s.first; k--) {
            low = Math.min(low, place[k])
            high = Math.max(high, place[k])
            if (before === place[i]) before = place[k]
        }
        const here = mid(place[i]), way = before > place[i] ? -1 : before < place[i] ? 1 : s.kind === BY_VJP ? -1 : 1
        g.strokeStyle = g.fillStyle = pen.colour(orderColour(m.order))
        g.lineWidth = 3
        g.globalAlpha = 0.45
        g.beginPath()
        g.moveTo(mid(low), y)
        g.lineTo(mid(high), y)
        g.stroke()
        g.globalAlpha = 1
        g.beginPath()
        g.moveTo(mid(before), y)
        g.lineTo(here, y)
        g.stroke()
        g.beginPath()
        g.moveTo(here + 6 * way, y)
        g.lineTo(here - 4 * way, y - 6)
        g.lineTo(here - 4 * way, y + 6)
        g.fill()
        const [x, , c] = middle(i, pen), base = cell(m.node, pen)
        g.lineWidth = 1.5
        g.setLineDash([4, 3])
        g.beginPath()
        g.moveTo(x, c.y + c.high)
        g.lineTo(x, base.y)
        g.stroke()
        g.setLineDash([])
    }
    const frame = (pen, i, wide) => {
        const c = cell(i, pen), g = pen.context
        g.strokeStyle = pen.colour('--ink')
        g.lineWidth = wide
        g.strokeRect(c.x - 1, c.y - 1, Math.max(c.wide + 2, 5), c.high + 2)
    }
    const draw = (pen) => {
        const g = pen.context
        g.textAlign = 'left'
        for (let l = 0; l < lanes; l++) {
            const box = lane(l, pen)
            g.fillStyle = pen.colour('--dim')
            g.fillText(l ? 'd' + l + (l === 3 ? '+' : '') : 'calls', 0, box.top + box.height - (l ? 4 : 8), left)
            g.fillStyle = pen.colour('--line')
            g.fillRect(left, box.top + box.height, pen.width - left, 1)
        }
        trail(pen)
        arcs(pen, pen.at)
        const drawn = new Map()
        for (let i = 0; i < n; i++) {
            const c = fill(pen, i, i <= pen.at ? 1 : 0.25, drawn)
            if (c.wide > 24 && i <= pen.at) label(pen, i, c)
        }
        if (made[pen.at].kind !== BY_CALL) frame(pen, made[pen.at].node, 2)
        frame(pen, pen.at, 2.5)
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

    const detail = (i) => {
        const node = nodes[i], m = made[i], out = rulesMade.get(i) ?? []
        const by = m.kind === BY_CALL ? undefined :
            m.kind === BY_RULE ? ['the rule of ', link(m.node), ` ${nodes[m.node].o}`] :
                [m.kind === BY_VJP ? 'the start, backward, of ' : 'the start, forward, of ', link(m.node)]
        const starts = sweeps.filter((s) => s.from.includes(i))
        const result = [el('h2', {class: 'mono'}, `%${i} = `, linked(node.f))]
        if (node.c) result.push(el('p', {class: 'value'}, `changed since by ${node.c}`))
        else if (node.v) result.push(el('p', {class: 'value mono'}, '= ' + value(node)))
        result.push(neighbours(i, [...new Set(node.i)], users[i]))
        result.push(listOf([
            ['name', node.n], ['type', type(node)],
            ['bytes', node.w ? `${bytesText(node.b)}, a view: none of its own` : bytesText(node.b)],
            ['least, mean, largest', node.r?.join(', ')],
            [m.order ? 'by the call at' : 'called at', node.l],
            ['derivative', m.order ? `${nth(m.order)}` : undefined], ['made by', by],
            ['a derivative starts here', starts.length ? starts.slice(0, 8).flatMap((s) => [link(s.first, sweepName(s)), ' ']) : undefined]]))
        if (m.kind === BY_RULE && nodes[m.node].o !== node.o) result.push(...ruleOf(nodes[m.node], ` of %${m.node}, which made this`))
        result.push(...ruleOf(node, m.kind === BY_RULE && nodes[m.node].o === node.o ? `, whose rule made this` : ''))
        // Of the sweep that made this, what the same rule read and did not make: what came in.
        const rule = m.kind === BY_RULE ? rulesMade.get(m.node).filter((k) => sweepAt(k) === sweepAt(i)) : []
        const came = new Set(rule.flatMap((k) => nodes[k].i)
            .filter((k) => made[k].order === m.order && !rule.includes(k)))
        if (came.size)
            result.push(el('h3', null, `What came in to the rule of %${m.node}`), el('ul', {class: 'made mono'},
                [...came].slice(0, 8).map((k) => el('li', null, link(k), ` = ${nodes[k].f}`))))
        if (rule.length > 1)
            result.push(el('h3', null, `All that the rule of %${m.node} made here`), el('ul', {class: 'made mono'},
                rule.slice(0, 24).map((k) => el('li', null, k === i ? `%${k}` : link(k), ` = ${nodes[k].f}`))))
        if (rule.length)
            result.push(el('p', {class: 'dim'}, 'What exists already is not made again; where cotangents come by ' +
                'several ways, their sum is made with the last.'))
        if (out.length)
            result.push(el('h3', null, 'What its rule made'), el('ul', {class: 'made mono'},
                out.slice(0, 24).map((k) => el('li', null, link(k), ` = ${nodes[k].f} `, el('span', {class: 'dim'}, `d${made[k].order}`))),
                out.length > 24 ? el('li', null, `and ${out.length - 24} more`) : ''))
        return result
    }

    const counted = [['nodes', n.toLocaleString('en')], ['called', calls.toLocaleString('en')]]
    for (let k = 1; k < lanes; k++)
        counted.push([k < 3 ? `of a ${nth(k)} derivative` : 'of higher ones', made.filter((m) => Math.min(m.order, 3) === k).length.toLocaleString('en')])
    return {
        n, unit: 'node', title: part.title === 'eager tape' ? 'A tape, eager' : 'A tape, recorded',
        about: n ? 'Nodes in the order they came to be. A derivative’s rules append nodes too: from where one starts, ' +
            'stepping on follows it from rule to rule.' : 'An empty tape.',
        tiles: [...counted, ['of values', bytesText(bytes)]],
        caption: 'The tape', hint: lanes > 1 ? 'From left to right the calls; above each, what its rule made, by order of derivative.' :
            'From left to right the calls.',
        height: (width) => 34 + Math.min(lanes, 4) * (width < 520 ? 62 : 74),
        legend: [['--input', 'inputs'], ['--constant', 'constants'], ['--order0', 'called'],
            ...[1, 2, 3].slice(0, lanes - 1).map((k) => [orderColour(k), k < 3 ? `${nth(k)} derivative` : 'third and more'])],
        marks: [[0, 'calls: the beginning'], ...sweeps.map((s) => [s.first, sweepName(s)])],
        draw, find, say, detail,
        tip: (i) => `%${i} = ${nodes[i].f}${called(nodes[i])} ${type(nodes[i])}`,
        row: (i) => ({
            key: '%' + i, op: nodes[i].o, name: nodes[i].n ?? nodes[i].o, main: nodes[i].f, side: [type(nodes[i]), value(nodes[i])].filter(Boolean).join('  = '),
            tag: made[i].kind === BY_CALL ? nodes[i].n ?? '' : made[i].kind === BY_RULE ? `d${made[i].order} by %${made[i].node}` : `d${made[i].order} starts`,
            more: nodes[i].l ?? '', colour: tapeColour(nodes[i], made[i]),
        }),
        state: (i, now) => nodes[now].i.includes(i) || made[now].order && made[now].node === i ? 'linked' : i > now ? 'later' : '',
    }
}
