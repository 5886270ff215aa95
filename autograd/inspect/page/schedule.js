// schedule.js: what a run of a bilevel does. Its picture has time to the right and the steps of
// the training upward: runs of the steps climb, the reverse sweep comes down, and a line from
// left to right is a state that is kept meanwhile. The column at the right is the strip of all
// states at the moment.
const ADVANCE = 0, SAVE = 1, LOAD = 2, DROP = 3, OUTER = 4, REVERSE = 5

// Moments: every step of an advance by itself, and what else is done.
function scheduleMoments(part) {
    const moments = [], kept = [], open = new Map()
    let furthest = 0
    for (const [kind, step, to, slot] of part.actions) {
        if (kind === ADVANCE)
            for (let t = step; t < to; t++) {
                moments.push({kind, step: t, again: t < furthest})
                furthest = Math.max(furthest, t + 1)
            }
        else {
            if (kind === SAVE) open.set(slot, {state: step, from: moments.length, to: Infinity, slot})
            if (kind === SAVE) kept.push(open.get(slot))
            if (kind === DROP) open.get(slot).to = moments.length
            moments.push({kind, step: kind === DROP ? open.get(slot).state : step, slot})
        }
    }
    return {moments, kept}
}

function scheduleModel(part) {
    const {moments, kept} = scheduleMoments(part), count = (test) => moments.filter(test).length
    let most = 0, now = 0
    for (const m of moments) {
        now += m.kind === SAVE ? 1 : m.kind === DROP ? -1 : 0
        most = Math.max(most, now)
    }
    return {
        part, moments, kept, most, n: moments.length, T: part.steps, cut: part.n > part.actions.length,
        runs: count((m) => m.kind === ADVANCE), again: count((m) => m.again), back: count((m) => m.kind === REVERSE),
        outer: moments.findIndex((m) => m.kind === OUTER),
        held: (at) => kept.filter((k) => k.from <= at && at < k.to),
    }
}

function momentColour(m) {
    return {[ADVANCE]: m.again ? '--order2' : '--order0', [REVERSE]: '--input', [OUTER]: '--order3'}[m.kind] ??
        '--constant'
}

function schedulePicture({moments, kept, n, T, outer, held}) {
    const left = Math.max(34, 12 + 7.5 * String(T).length), right = 26
    const along = (pen) => pen.width - left - right - 10
    const xOf = (i, pen) => left + i / Math.max(n, 1) * along(pen)
    const yOf = (state, pen) => pen.height - 24 - state / Math.max(T, 1) * (pen.height - 40)
    // Of one kind those from `from` to before `to`, as one path.
    const path = (pen, from, to, name, test, rises) => {
        const g = pen.context, thin = (xOf(1, pen) - xOf(0, pen)) < 3
        g.strokeStyle = pen.colour(name)
        g.lineWidth = thin ? 1.6 : 2.6
        g.setLineDash(rises || thin ? [] : [4, 2])
        g.beginPath()
        for (let i = from; i < to; i++) {
            if (!test(moments[i])) continue
            g.moveTo(xOf(i, pen), yOf(moments[i].step + (rises ? 0 : 1), pen))
            g.lineTo(xOf(i + 1, pen), yOf(moments[i].step + (rises ? 1 : 0), pen))
        }
        g.stroke()
        g.setLineDash([])
    }
    const paths = (pen, from, to, alpha) => {
        const g = pen.context
        g.globalAlpha = alpha
        path(pen, from, to, '--order0', (m) => m.kind === ADVANCE && !m.again, true)
        path(pen, from, to, '--order2', (m) => m.kind === ADVANCE && m.again, true)
        path(pen, from, to, '--input', (m) => m.kind === REVERSE, false)
        if (outer >= from && outer < to) {
            g.fillStyle = pen.colour('--order3')
            g.beginPath()
            g.arc(xOf(outer + 0.5, pen), yOf(moments[outer].step, pen), 5, 0, 7)
            g.fill()
        }
        g.globalAlpha = 1
    }
    const keptLines = (pen) => {
        const g = pen.context
        for (const k of kept) {
            const end = Math.min(k.to, n), y = yOf(k.state, pen), seen = Math.min(end, pen.at + 1)
            g.globalAlpha = 0.3
            pen.line(xOf(k.from, pen), y, xOf(end, pen), y, '--dim', 1)
            g.globalAlpha = 1
            if (k.from > pen.at) continue
            pen.line(xOf(k.from, pen), y, xOf(seen, pen), y, '--dim', pen.at < k.to ? 2.5 : 1.2)
            if (T > 120) continue
            g.fillStyle = pen.colour('--dim')
            g.beginPath()
            g.arc(xOf(k.from, pen), y, 3, 0, 7)
            g.fill()
        }
    }
    // All states now: kept, current, or done with.
    const strip = (pen) => {
        const g = pen.context, x = pen.width - right, high = Math.abs(yOf(1, pen) - yOf(0, pen))
        const m = moments[pen.at], now = m.kind === ADVANCE ? m.step + 1 : m.step
        const swept = moments.slice(0, pen.at + 1).filter((k) => k.kind === REVERSE || k.kind === OUTER).pop()
        const tall = Math.max(Math.min(high - 1, 14), 1)
        const done = (state) => {
            g.fillStyle = pen.colour(swept && state >= swept.step ? '--input' : '--line')
            g.globalAlpha = swept && state >= swept.step ? 0.55 : 1
        }
        for (let state = 0; high >= 2 && state <= T; state++) {
            done(state)
            g.fillRect(x, yOf(state, pen) - tall / 2, right - 6, tall)
        }
        const edge = yOf(swept ? swept.step : T, pen)
        for (const [state, from, to] of high < 2 ? [[-1, edge, yOf(0, pen)], [T, yOf(T, pen), edge]] : []) {
            done(state)
            g.fillRect(x, from, right - 6, to - from)
        }
        g.globalAlpha = 1
        g.fillStyle = pen.colour('--ink')
        for (const k of held(pen.at))
            g.fillRect(x + 4, yOf(k.state, pen) - Math.max(tall, 2) / 2, right - 14, Math.max(tall, 2))
        g.strokeStyle = pen.colour(momentColour(m))
        g.lineWidth = 2.5
        g.strokeRect(x - 1, yOf(now, pen) - Math.max(tall, 4) / 2 - 1, right - 4, Math.max(tall, 4) + 2)
    }
    const draw = (pen) => {
        const g = pen.context
        g.fillStyle = pen.colour('--dim')
        g.textAlign = 'right'
        for (const state of new Set([0, Math.round(T / 2), T]))
            g.fillText(String(state), left - 8, yOf(state, pen) + 4)
        g.fillText('time →', pen.width - right - 10, pen.height - 5)
        g.textAlign = 'left'
        g.fillText('state ↑', 0, pen.height - 5)
        keptLines(pen)
        paths(pen, pen.at + 1, n, 0.28)
        paths(pen, 0, pen.at + 1, 1)
        strip(pen)
        const x = xOf(pen.at + 0.5, pen)
        pen.line(x, 6, x, pen.height - 18, '--ink', 1, [2, 3])
    }
    return {
        draw, height: (width) => width < 520 ? 250 : 330,
        find: (x, y, pen) => Math.max(0, Math.min(n - 1, Math.floor((x - left) / along(pen) * n))),
    }
}

function momentTitle(m) {
    return {
        [ADVANCE]: `step ${m.step}${m.again ? ', again' : ''}`, [REVERSE]: `step ${m.step}, backward`,
        [SAVE]: `keep state ${m.step}`, [LOAD]: `go back to state ${m.step}`, [DROP]: `forget state ${m.step}`,
        [OUTER]: 'the outer loss and its gradient',
    }[m.kind]
}

function momentSentence(m) {
    return {
        [ADVANCE]: `step ${m.step} is run${m.again ? ' again' : ''}: state ${m.step} becomes state ${m.step + 1}`,
        [SAVE]: `state ${m.step} is kept, in slot ${m.slot}`,
        [LOAD]: `back to state ${m.step}, from slot ${m.slot}`,
        [DROP]: `state ${m.step} is forgotten, slot ${m.slot} is free`,
        [OUTER]: `the outer loss is taken at state ${m.step}, and its gradient is where the sweep back begins`,
        [REVERSE]: `the derivative of step ${m.step}: the cotangent of state ${m.step + 1} becomes ` +
            `that of state ${m.step}`,
    }[m.kind]
}

function scheduleDetail({part, moments, kept, held, again, back, T}, i) {
    const now = held(i), states = now.map((k) => k.state).sort((a, b) => a - b)
    const count = (test) => moments.slice(0, i + 1).filter(test).length
    const more = states.length > 60 ? el('li', null, `and ${states.length - 60} more`) : ''
    return [el('h2', null, momentTitle(moments[i])), el('p', null, momentSentence(moments[i]) + '.'),
        listOf([
            ['steps run so far', `${count((m) => m.kind === ADVANCE && !m.again)} of ${T}`],
            ['run again', again ? `${count((m) => m.again)} of ${again}` : undefined],
            ['backward', back ? `${count((m) => m.kind === REVERSE)} of ${back}` : undefined],
            ['states kept now', kept.length ? `${now.length}, ${bytesText(now.length * part.state)}` : undefined]]),
        states.length ? el('ul', {class: 'chips', 'aria-label': 'The states that are kept'},
            states.slice(0, 60).map((state) => el('li', null, state)), more) : '']
}

function scheduleAbout({part, kept, most, back, T, cut}) {
    const keeps = kept.length ? `${part.schedule}: at most ${many(most, 'state')} of ${bytesText(part.state)} ` +
        (most === 1 ? 'is' : 'are') + ' kept at one time' +
        (part.products ? `, with ${many(part.products, 'product')} each.` : '.') :
        'No state is kept' + (back ? ': each is recovered from the one after it.' : '.')
    return [`${part.method}, ${many(T, 'step')}.`, keeps,
        part.solves ? 'Where the training ends, a linear system is solved.' : '',
        cut ? `Here are the first ${numberText(part.actions.length)} of ${numberText(part.n)} actions.` : '',
        part.left.length ? `Too large to be here: ${part.left.join('; ')}.` : ''].filter(Boolean).join(' ')
}

function scheduleMarks({moments, n, outer}) {
    const marks = [[0, 'the beginning'], ...outer > 0 ? [[outer, 'the outer loss']] : []]
    for (let i = 1; i < n && marks.length < 200; i++)
        if (moments[i].again && !moments[i - 1].again) marks.push([i, `again from state ${moments[i].step}`])
    return marks
}

VIEWS.schedule = (part) => {
    const schedule = scheduleModel(part), {moments, kept, most, n, cut, runs, again, back, held} = schedule
    const tags = ['run', 'keep', 'load', 'forget', 'outer', 'back']
    return {
        n, unit: 'moment', title: 'A bilevel run', about: scheduleAbout(schedule),
        tiles: [[cut ? 'steps run, of these' : 'steps run', numberText(runs)], ['of them again', numberText(again)],
            [cut ? 'backward, of these' : 'steps backward', numberText(back)],
            ['states kept at most', numberText(most)], ['in all', bytesText(part.bytes)],
            ...part.budget ? [['the budget', bytesText(part.budget)]] : [],
            ...part.forward ? [['flops of a step', flopsText(part.forward)]] : [],
            ...part.reverse ? [['of one backward', flopsText(part.reverse)]] : []],
        caption: 'What is run, what is kept, what is run again',
        hint: 'To the right time, upward the states of the training. At the right edge, all states as they are now.',
        ...schedulePicture(schedule),
        legend: [['--order0', 'run', 'bar'], ...again ? [['--order2', 'run again', 'bar']] : [],
            ...back ? [['--input', 'backward', 'bar']] : [], ['--order3', 'outer loss'],
            ...kept.length ? [['--dim', 'a state kept', 'bar'], ['--ink', 'kept now']] : []],
        marks: scheduleMarks(schedule),
        say: (i) => `${i + 1} of ${n}: ${momentSentence(moments[i])}.` +
            (kept.length ? ` ${many(held(i).length, 'state is kept', 'states are kept')}.` : ''),
        detail: (i) => scheduleDetail(schedule, i), tip: (i) => momentTitle(moments[i]),
        row: (i) => ({
            key: String(i + 1), name: '', main: momentTitle(moments[i]), tag: tags[moments[i].kind], more: '',
            side: kept.length ? `${held(i).length} kept` : '', colour: momentColour(moments[i]),
        }),
        state: (i, now) => i > now ? 'later' : '',
    }
}
