// program.js: a program. Its picture is the arena: bytes from the bottom up, instructions from
// left to right, and a rectangle for every value that lives in it, from the instruction that
// makes it to the last that reads it.
const PLACES = {out: 'an output', arena: 'the arena'}

// Bytes alive at each instruction. What is written over what it reads counts once.
function liveBytes(part) {
    const n = part.nodes.length, change = new Float64Array(n + 1), over = new Map()
    const lives = part.nodes.map((node) => node.a).filter(Boolean)
    for (const [offset, bytes, from, to] of lives)
        if (from < to) over.set(to + ' ' + offset, bytes)
    for (const [offset, bytes, from, to] of lives) {
        const before = Math.min(over.get(from + ' ' + offset) ?? 0, bytes)
        change[from] += bytes - before
        change[from + 1] += before
        change[to + 1] -= bytes
    }
    for (const [when, , bytes] of part.work) {
        change[when] += bytes
        change[when + 1] -= bytes
    }
    const live = new Float64Array(n)
    for (let i = 0, sum = 0; i < n; i++) live[i] = sum += change[i]
    return live
}

VIEWS.program = (part) => {
    const nodes = part.nodes, n = nodes.length, users = usersOf(nodes), live = liveBytes(part)
    const inputs = nodes.filter((node) => node.p === 'in').length
    const peak = live.reduce((best, bytes, i) => bytes > live[best] ? i : best, 0)
    const out = new Map(part.out.map((i, k) => [i, k]))
    const boxes = nodes.map((node, i) => node.a && {i, offset: node.a[0], bytes: node.a[1], from: node.a[2], to: node.a[3]}).filter(Boolean)
    // What one is written over ends where that begins: in the middle of the instruction.
    const begins = new Set(boxes.map((b) => b.from + ' ' + b.offset))
    const ends = new Set(boxes.filter((b) => b.from < b.to).map((b) => b.to + ' ' + b.offset))
    for (const b of boxes) {
        b.left = b.from + (ends.has(b.from + ' ' + b.offset) ? 0.5 : 0)
        b.right = b.to + (b.from < b.to && begins.has(b.to + ' ' + b.offset) ? 0.5 : 1)
    }
    const work = part.work.map(([when, offset, bytes]) => ({i: when, offset, bytes, from: when, to: when, left: when, right: when + 1, work: true}))
    const when = (i) => nodes[i].x
    const with_ = nodes.map(() => [])
    nodes.forEach((node, i) => { if (i >= inputs && node.x !== i) with_[node.x].push(i) })
    const type = (node) => node.s === '()' ? node.t : node.t + ' ' + node.s
    const left = 8
    const xOf = (i, pen) => left + (i - inputs) / Math.max(n - inputs, 1) * (pen.width - left - 4)
    const yOf = (bytes, pen) => pen.height - 22 - bytes / Math.max(part.arena, 1) * (pen.height - 44)

    const place = (node) => node.p === 'in' ? `input ${node.k}` : node.p === 'out' ? `output ${node.k}` :
        node.p === 'view' ? `view of %${node.k}` : node.p === 'arena' ? `at ${node.a[0].toLocaleString('en')}` : node.p === 'tile' ? 'in a tile' : 'constant'
    const colour = (i) => ({in: '--input', constant: '--constant', out: '--order2', view: '--constant', tile: '--order1'})[nodes[i].p] ?? '--order0'
    const say = (i) => {
        const node = nodes[i]
        if (node.p === 'in') return `${i + 1} of ${n}: %${i} is input ${node.k}, ${type(node)}.`
        const where = node.p === 'tile' ? `made and read within the group that runs at %${when(i)}` :
            (node.p === 'view' ? `a view of %${node.k}` : node.p === 'constant' ? 'a constant' : `in ${PLACES[node.p]}`) + (when(i) === i ? '' : `, with %${when(i)}`)
        return `${i + 1} of ${n}: %${i} = ${node.f}, ${type(node)}, ${where}; ` +
            `${bytesText(live[when(i)])} of the arena are alive.`
    }
    const box = (b, pen) => {
        const x = xOf(b.left, pen), y = yOf(b.offset + b.bytes, pen)
        return {x, y, wide: Math.max(xOf(b.right, pen) - x, 1), high: Math.max(yOf(b.offset, pen) - y, 1)}
    }
    const draw = (pen) => {
        const g = pen.context, now = Math.max(when(pen.at), inputs)
        const reads = new Set(nodes[pen.at].i)
        g.fillStyle = pen.colour('--line')
        g.fillRect(left, yOf(0, pen), pen.width - left, 1)
        for (const b of [...boxes, ...work]) {
            const r = box(b, pen), alive = b.from <= now && now <= b.to
            const own = b.i === pen.at && !b.work
            g.fillStyle = pen.colour(own ? '--order2' : b.work ? '--order3' : reads.has(b.i) ? '--input' : '--order0')
            g.globalAlpha = own || alive ? 0.85 : 0.3
            g.fillRect(r.x, r.y, r.wide, r.high)
            g.globalAlpha = 1
            if (r.wide > 4 && r.high > 4) {
                g.strokeStyle = pen.colour('--card')
                g.lineWidth = 1
                g.strokeRect(r.x + 0.5, r.y + 0.5, r.wide - 1, r.high - 1)
            }
            const text = '%' + b.i + ' ' + nodes[b.i].o
            if (r.high > 15 && alive && g.measureText(text).width < r.wide - 8) {
                g.fillStyle = pen.colour('--paper')
                g.textAlign = 'left'
                g.fillText(text, r.x + 4, r.y + Math.min(r.high / 2 + 4, 16))
            }
        }
        // The bytes alive, as steps; where they are most; and now.
        g.strokeStyle = pen.colour('--ink')
        g.lineWidth = 1.2
        g.beginPath()
        for (let i = inputs; i < n; i++) {
            g.lineTo(xOf(i, pen), yOf(live[i], pen))
            g.lineTo(xOf(i + 1, pen), yOf(live[i], pen))
        }
        g.stroke()
        g.fillStyle = pen.colour('--ink')
        const text = `peak ${bytesText(live[peak])} at %${peak}`, x = (xOf(peak, pen) + xOf(peak + 1, pen)) / 2
        g.textAlign = x < pen.width / 3 ? 'left' : x > pen.width * 2 / 3 ? 'right' : 'center'
        g.fillText(text, x, 12)
        g.setLineDash([3, 3])
        g.beginPath()
        g.moveTo(x, 16)
        g.lineTo(x, yOf(live[peak], pen))
        g.stroke()
        g.setLineDash([])
        g.fillStyle = pen.colour('--dim')
        g.textAlign = 'left'
        g.fillText(`instructions %${inputs} to %${n - 1}`, left, pen.height - 6)
        g.textAlign = 'right'
        g.fillText(`arena ${bytesText(part.arena)}`, pen.width - 4, pen.height - 6)
        g.strokeStyle = pen.colour('--ink')
        g.lineWidth = 2
        g.strokeRect(xOf(now, pen), 18, Math.max(xOf(now + 1, pen) - xOf(now, pen), 2), pen.height - 40)
    }
    const find = (x, y, pen) => {
        let best = -1
        for (const b of boxes) {
            const r = box(b, pen)
            if (x >= r.x - 1 && x <= r.x + r.wide + 1 && y >= r.y && y <= r.y + r.high) best = b.i
        }
        if (best >= 0) return best
        const i = inputs + Math.floor((x - left) / (pen.width - left - 4) * (n - inputs))
        return i >= inputs && i < n ? i : -1
    }
    const detail = (i) => {
        const node = nodes[i], group = i >= inputs ? [...with_[when(i)], when(i)].sort((a, b) => a - b) : []
        const result = [el('h2', {class: 'mono'}, `%${i} = `, linked(node.f)),
            neighbours(i, [...new Set(node.i)], users[i]),
            listOf([
                ['type', type(node)], ['bytes', bytesText(node.b)], ['where', place(node)],
                ['made at', node.p === 'in' ? undefined : [link(when(i))]],
                ['read last at', node.a ? [link(node.a[3])] : undefined],
                ['flops', node.h ? flopsText(node.h) : undefined],
                ['output', out.has(i) ? String(out.get(i)) : undefined],
                ['arena alive meanwhile', i >= inputs ? bytesText(live[when(i)]) : undefined],
                ['called at', node.l]])]
        if (group.length > 1)
            result.push(el('h3', null, `${group.length} instructions that run together, tile by tile`),
                el('ul', {class: 'made mono'}, group.slice(0, 24).map((k) => el('li', null, link(k), ` = ${nodes[k].f}`)),
                    group.length > 24 ? el('li', null, `and ${group.length - 24} more`) : ''))
        return [...result, ...ruleOf(node)]
    }
    return {
        n, unit: 'instruction', title: part.title === 'program' ? 'A program' : `Program: ${part.title}`,
        about: 'What a run does, in order, on memory planned once.',
        tiles: [['instructions', part.instructions.toLocaleString('en')], ['inputs', String(inputs)], ['outputs', String(part.out.length)],
            ['kernel calls', part.calls.toLocaleString('en')], ['arena', bytesText(part.arena)], ['of products a run', flopsText(part.flops)]],
        caption: 'The arena', hint: `Upward the bytes of it, to the right the instructions. The line is what is alive, at most ${bytesText(live[peak] ?? 0)}.`,
        height: (width) => width < 520 ? 240 : 300,
        legend: [['--order0', 'values'], ['--order2', 'the one at hand'], ['--input', 'what it reads'],
            ...work.length ? [['--order3', 'workspace of an op']] : [], ['--ink', 'bytes alive', 'bar'], ['--ink', 'now', 'ring']],
        marks: n ? [[0, 'inputs'], ...inputs && inputs < n ? [[inputs, 'the first instruction']] : [], ...[[peak, 'where memory peaks']].filter(([i]) => i > inputs),
            ...part.out.filter((i) => i !== peak && i > inputs).slice(0, 20).map((i) => [i, `output ${out.get(i)}`])].sort((a, b) => a[0] - b[0]) : [],
        start: Math.min(inputs, Math.max(n - 1, 0)), draw, find, say, detail,
        tip: (i) => `%${i} = ${nodes[i].f} ${type(nodes[i])}, ${bytesText(nodes[i].b)}, ${place(nodes[i])}`,
        row: (i) => ({
            key: '%' + i, name: nodes[i].o, main: nodes[i].f, side: type(nodes[i]), tag: place(nodes[i]),
            more: nodes[i].h ? flopsText(nodes[i].h) : nodes[i].l ?? '', colour: colour(i),
        }),
        state: (i, now) => nodes[now].i.includes(i) ? 'linked' : i > now ? 'later' : '',
    }
}
