// An nsqd that is killed is not forgotten: on the lists, on its own page, until it is dismissed.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')

module.exports = async ({visit, cluster}) => {
  const visitor = await visit()
  const {page} = visitor
  await visitor.open('/topics')
  // After a hang of nsqlookupd, the nodes register again.
  await until('no node is lost', async () => (await page.locator('[data-test="lost-node"]').count()) === 0)
  await cluster.killSecond()
  const lost = page.locator('[data-test="lost-node"]', {hasText: cluster.second})
  await lost.waitFor({timeout: 30_000})
  assert.match(await lost.innerText(), /gone since \d+:\d+: 0 consumers, 1 topic, 11 messages waiting then/)
  assert.match(await visitor.cell('topics', 'lonely', 'state'), /node lost/)
  assert.strictEqual(await visitor.cell('topics', 'lonely', 'waiting'), '–')

  await visitor.open('/nodes')
  assert.match(await visitor.cell('nodes', cluster.second, 'state'), /gone/)
  await visitor.open(`/nodes/${cluster.second}`)
  assert.match(await page.locator('[data-test="diagnosis"]').innerText(), /gone since/)
  assert.strictEqual(await visitor.cell('topics', 'lonely', 'waiting'), '11')
  await visitor.open('/topics/lonely')
  assert.strictEqual(await page.locator('[data-test="delete"]').count(), 0, 'what may come back is not deleted')
  await visitor.open('/lookup')
  assert.strictEqual(await page.locator('#orphans tr[data-key="lonely"]').count(), 0)

  await visitor.open('/topics')
  await visitor.going(() => lost.locator('[data-test="dismiss"]').click())
  await visitor.isDone()
  await visitor.open('/topics')
  await until('the node is forgotten', async () => (await lost.count()) === 0)
}
