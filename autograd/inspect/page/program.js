// program.js: a program. Its picture is the arena: bytes from the bottom up, instructions from
// left to right, and a rectangle for every value that lives in it, from the instruction that
// makes it to the last that reads it.
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

// Rectangles of the arena: values, and what ops work in. What one is written over ends where that
// begins: in the middle of the instruction.
function programBoxes(part) {
    const boxes = part.nodes.flatMap(({a}, i) =>
        a ? [{i, offset: a[0], bytes: a[1], from: a[2], to: a[3], left: a[2], right: a[3] + 1}] : [])
    const begins = new Set(boxes.map((b) => b.from + ' ' + b.offset))
    const ends = new Set(boxes.filter((b) => b.from < b.to).map((b) => b.to + ' ' + b.offset))
    for (const b of boxes) {
        if (ends.has(b.from + ' ' + b.offset)) b.left += 0.5
        if (b.from < b.to && begins.has(b.to + ' ' + b.offset)) b.right -= 0.5
    }
    const work = part.work.map(([i, offset, bytes]) =>
        ({i, offset, bytes, from: i, to: i, left: i, right: i + 1, work: true}))
    return {boxes, work}
}

function programModel(part) {
    const nodes = part.nodes, n = nodes.length, live = liveBytes(part)
    const inputs = nodes.filter((node) => node.p === 'in').length
    const groups = new Map() // what runs at an instruction, in order
    for (let i = inputs; i < n; i++) groups.set(nodes[i].x, (groups.get(nodes[i].x) ?? []).concat(i))
    return {
        part, nodes, n, live, inputs, users: usersOf(nodes), ...programBoxes(part),
        when: (i) => nodes[i].x, group: (i) => groups.get(nodes[i].x) ?? [],
        peak: live.reduce((best, bytes, i) => bytes > live[best] ? i : best, 0),
        out: new Map(part.out.map((i, k) => [i, k])),
    }
}

function programPicture({part, nodes, n, inputs, live, peak, boxes, work, when}) {
    const left = 8
    const xOf = (i, pen) => left + (i - inputs) / Math.max(n - inputs, 1) * (pen.width - left - 4)
    const yOf = (bytes, pen) => pen.height - 22 - bytes / Math.max(part.arena, 1) * (pen.height - 44)
    const rectangle = (b, pen) => {
        const x = xOf(b.left, pen), y = yOf(b.offset + b.bytes, pen)
        return {x, y, wide: Math.max(xOf(b.right, pen) - x, 1), high: Math.max(yOf(b.offset, pen) - y, 1)}
    }
    const box = (pen, b, alive, name) => {
        const r = rectangle(b, pen), g = pen.context, text = '%' + b.i + ' ' + nodes[b.i].o
        g.fillStyle = pen.colour(name)
        g.globalAlpha = alive ? 0.85 : 0.3
        g.fillRect(r.x, r.y, r.wide, r.high)
        g.globalAlpha = 1
        if (r.wide > 4 && r.high > 4) {
            g.strokeStyle = pen.colour('--card')
            g.lineWidth = 1
            g.strokeRect(r.x + 0.5, r.y + 0.5, r.wide - 1, r.high - 1)
        }
        if (!alive || r.high <= 15 || g.measureText(text).width > r.wide - 8) return
        g.fillStyle = pen.colour('--paper')
        g.textAlign = 'left'
        g.fillText(text, r.x + 4, r.y + Math.min(r.high / 2 + 4, 16))
    }
    // The bytes alive, as steps, and where they are most.
    const alive = (pen) => {
        const g = pen.context, x = xOf(peak + 0.5, pen)
        g.strokeStyle = g.fillStyle = pen.colour('--ink')
        g.lineWidth = 1.2
        g.beginPath()
        for (let i = inputs; i < n; i++) {
            g.lineTo(xOf(i, pen), yOf(live[i], pen))
            g.lineTo(xOf(i + 1, pen), yOf(live[i], pen))
        }
        g.stroke()
        g.textAlign = x < pen.width / 3 ? 'left' : x > pen.width * 2 / 3 ? 'right' : 'center'
        g.fillText(`peak ${bytesText(live[peak])} at %${peak}`, x, 12)
        pen.line(x, 16, x, yOf(live[peak], pen), '--ink', 1, [3, 3])
    }
    const axes = (pen) => {
        const g = pen.context
        pen.line(left, yOf(0, pen) + 0.5, pen.width, yOf(0, pen) + 0.5, '--line', 1)
        g.fillStyle = pen.colour('--dim')
        g.textAlign = 'left'
        g.fillText(`instructions %${inputs} to %${n - 1}`, left, pen.height - 6)
        g.textAlign = 'right'
        g.fillText(`arena ${bytesText(part.arena)}`, pen.width - 4, pen.height - 6)
    }
    const draw = (pen) => {
        const g = pen.context, now = Math.max(when(pen.at), inputs), reads = new Set(nodes[pen.at].i)
        axes(pen)
        for (const b of boxes)
            box(pen, b, b.from <= now && now <= b.to || b.i === pen.at,
                b.i === pen.at ? '--order2' : reads.has(b.i) ? '--input' : '--order0')
        for (const b of work) box(pen, b, b.i === now, '--order3')
        alive(pen)
        g.strokeStyle = pen.colour('--ink')
        g.lineWidth = 2
        g.strokeRect(xOf(now, pen), 18, Math.max(xOf(now + 1, pen) - xOf(now, pen), 2), pen.height - 40)
    }
    const find = (x, y, pen) => {
        const hit = boxes.findLast((b) => {
            const r = rectangle(b, pen)
            return x >= r.x - 1 && x <= r.x + r.wide + 1 && y >= r.y && y <= r.y + r.high
        })
        const i = inputs + Math.floor((x - left) / (pen.width - left - 4) * (n - inputs))
        return hit ? hit.i : i >= inputs && i < n ? i : -1
    }
    return {draw, find, height: (width) => width < 520 ? 240 : 300}
}

// Where a value lives: in the list, and in a sentence.
function programPlace(node) {
    return {
        in: () => `input ${node.k}`, out: () => `output ${node.k}`, view: () => `view of %${node.k}`,
        arena: () => `at ${numberText(node.a[0])}`, tile: () => 'in a tile', constant: () => 'constant',
    }[node.p]()
}

function programWhere(node) {
    return {
        out: `in output ${node.k}`, view: `a view of %${node.k}`, arena: 'in the arena',
        tile: 'in a tile of its group', constant: 'a constant',
    }[node.p]
}

function programSay({nodes, n, live, when}, i) {
    const node = nodes[i]
    if (node.p === 'in') return `${i + 1} of ${n}: %${i} is input ${node.k}, ${typeText(node)}.`
    const runs = when(i) === i ? '' : `, with %${when(i)}`
    return `${i + 1} of ${n}: %${i} = ${node.f}, ${typeText(node)}, ${programWhere(node)}${runs}; ` +
        `${bytesText(live[when(i)])} of the arena are alive.`
}

function programDetail({nodes, live, when, group, users, out}, i) {
    const node = nodes[i], together = group(i), runs = node.p !== 'in'
    return [el('h2', {class: 'mono'}, `%${i} = `, linked(node.f)),
        neighbours(i, [...new Set(node.i)], users[i]),
        listOf([
            ['type', typeText(node)], ['bytes', bytesText(node.b)], ['where', programPlace(node)],
            ['made at', runs ? link(when(i)) : undefined], ['read last at', node.a ? link(node.a[3]) : undefined],
            ['flops', node.h ? flopsText(node.h) : undefined],
            ['output', out.has(i) ? String(out.get(i)) : undefined],
            ['arena alive meanwhile', runs ? bytesText(live[when(i)]) : undefined], ['called at', node.l]]),
        ...together.length < 2 ? [] :
            nodeList(`${together.length} instructions that run together, tile by tile`, nodes, together),
        ...ruleOf(node)]
}

function programMarks({n, inputs, peak, out}) {
    const marks = n ? [[0, 'inputs']] : []
    if (inputs && inputs < n) marks.push([inputs, 'the first instruction'])
    if (peak > inputs) marks.push([peak, 'where memory peaks'])
    for (const [i, k] of [...out].slice(0, 20)) if (i !== peak && i > inputs) marks.push([i, `output ${k}`])
    return marks.sort((a, b) => a[0] - b[0])
}

const PLACE_COLOURS = {
    in: '--input', constant: '--constant', view: '--constant', out: '--order2', tile: '--order1', arena: '--order0',
}

VIEWS.program = (part) => {
    const program = programModel(part), {nodes, n, inputs, live, peak, work} = program
    return {
        n, unit: 'instruction', title: part.title === 'program' ? 'A program' : `Program: ${part.title}`,
        about: 'What a run does, in order, on memory planned once.',
        tiles: [['instructions', numberText(part.instructions)], ['inputs', numberText(inputs)],
            ['outputs', numberText(part.out.length)], ['kernel calls', numberText(part.calls)],
            ['arena', bytesText(part.arena)], ['of products a run', flopsText(part.flops)]],
        caption: 'The arena', hint: 'Upward the bytes of it, to the right the instructions. ' +
            `The line is what is alive, at most ${bytesText(live[peak] ?? 0)}.`,
        ...programPicture(program),
        legend: [['--order0', 'values'], ['--order2', 'the one at hand'], ['--input', 'what it reads'],
            ...work.length ? [['--order3', 'workspace of an op']] : [],
            ['--ink', 'bytes alive', 'bar'], ['--ink', 'now', 'ring']],
        marks: programMarks(program), start: Math.min(inputs, Math.max(n - 1, 0)),
        say: (i) => programSay(program, i), detail: (i) => programDetail(program, i),
        tip: (i) => `%${i} = ${nodes[i].f} ${typeText(nodes[i])}, ${bytesText(nodes[i].b)}, ${programPlace(nodes[i])}`,
        row: (i) => ({
            key: '%' + i, name: nodes[i].o, main: nodes[i].f, side: typeText(nodes[i]), tag: programPlace(nodes[i]),
            more: nodes[i].h ? flopsText(nodes[i].h) : nodes[i].l ?? '', colour: PLACE_COLOURS[nodes[i].p],
        }),
        state: (i, now) => nodes[now].i.includes(i) ? 'linked' : i > now ? 'later' : '',
    }
}
