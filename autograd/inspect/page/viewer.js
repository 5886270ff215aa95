const parts = JSON.parse(document.getElementById('data').textContent)
document.getElementById('title').textContent = parts[0].title
for (const node of parts[0].nodes ?? []) {
    const li = document.createElement('li')
    li.textContent = [node.f, node.t, node.s, node.n, node.l, node.v].join('  ')
    document.getElementById('list').append(li)
}
