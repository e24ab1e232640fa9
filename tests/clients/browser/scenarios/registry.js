// What nsqlookupd has, single nodes, the counter, and the charts.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')

module.exports = async ({visit, cluster}) => {
  const visitor = await visit()
  const {page} = visitor
  await lookup(visitor, cluster)
  await chosen(visitor, cluster)
  await node(visitor, cluster)

  await visitor.open('/counter')
  const before = await visitor.stat('published')
  const rate = page.locator('[data-test="rate"]')
  await until('messages a second are counted', async () => {
    await cluster.publish(cluster.first, 'orders', 'tick')
    return Number(await rate.innerText()) > 0
  })
  assert.ok((await visitor.stat('published')) > before)

  for (const path of ['/counter', '/topics/orders', '/topics/orders/billing', `/nodes/${cluster.first}`]) {
    await visitor.open(path)
    const measured = await page.locator('.chart-svg path[data-points]').evaluateAll((lines) => lines.map((line) =>
      line.dataset.points.split(' ').filter((point) => /:.+/.test(point)).length))
    assert.ok(measured.some((count) => count > 2), `${path}: ${measured}`)
    await page.locator('.chart-svg').first().hover()
    await page.locator('.read-out dd').first().waitFor()
  }
}

async function lookup(visitor, cluster) {
  const {page} = visitor
  await visitor.open('/lookup')
  const create = await visitor.asked('create-topic')
  await create.locator('input[name="topic"]').fill('made-here')
  await create.locator('input[name="channel"]').fill('and-this')
  await visitor.agree(create)
  assert.ok((await cluster.registeredTopics()).includes('made-here'))
  assert.deepStrictEqual(await cluster.registeredChannels('made-here'), ['and-this'])

  await visitor.open('/lookup')
  const row = page.locator('#orphans tr[data-key="made-here"]')
  await visitor.cancel(await visitor.asked('delete', row))
  assert.ok((await cluster.registeredTopics()).includes('made-here'))
  await visitor.agree(await visitor.asked('delete', row))
  assert.ok(!(await cluster.registeredTopics()).includes('made-here'))

  await visitor.open('/lookup')
  const refused = await visitor.asked('create-topic')
  const name = refused.locator('input[name="topic"]')
  await name.fill('no spaces')
  await refused.locator('[data-go]').click()
  assert.ok(await name.evaluate((field) => field.matches(':invalid') && field === document.activeElement))
  assert.ok(!(await cluster.registeredTopics()).includes('no spaces'))
}

/** A topic on the nodes that are chosen, with its first message. */
async function chosen(visitor, cluster) {
  const {page} = visitor
  const {first, second} = cluster
  await visitor.open('/topics')
  const create = await visitor.asked('create-topic')
  await create.locator('input[name="topic"]').fill('on-one-node')
  await create.locator(`input[name="on"][value="${second}"]`).check()
  await create.locator('textarea[name="body"]').fill('the first message')
  await visitor.agree(create)
  const {message_count: count, message_bytes: bytes} = await cluster.topic(second, 'on-one-node')
  assert.deepStrictEqual([count, bytes], [1, 'the first message'.length])
  assert.strictEqual(await cluster.topic(first, 'on-one-node'), undefined, 'only on the chosen node')
  await cluster.known('on-one-node', 1, 1)
}

async function node(visitor, cluster) {
  const {page} = visitor
  const {first, second, nodes} = cluster
  for (const each of nodes) await cluster.create(each, 'moving')
  await cluster.known('moving', 2)
  await visitor.open('/nodes')
  await visitor.going(() => page.locator('#nodes').getByRole('link', {name: second, exact: true}).click())
  const row = page.locator('#topics tr[data-key="moving"]')
  await visitor.cancel(await visitor.asked('tombstone', row))
  assert.deepStrictEqual(await cluster.producers('moving'), [...nodes].sort())
  await visitor.agree(await visitor.asked('tombstone', row))
  assert.deepStrictEqual(await cluster.producers('moving'), [first])
  assert.strictEqual(await cluster.topic(second, 'moving'), undefined)
}
