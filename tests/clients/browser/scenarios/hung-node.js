// An nsqd that is stopped, as by SIGSTOP: pages answer at once and say so, and what is not known is no zero.
'use strict'

const assert = require('assert')

const SOON_MS = 30_000
const AT_ONCE_MS = 1500

module.exports = async ({visit, cluster}) => {
  const visitor = await visit()
  const {page} = visitor
  await visitor.open('/topics')
  await page.locator('#live[data-state="live"]').waitFor()
  await cluster.have('hang node')
  await page.locator(`[data-test="lost-node"]`).getByText(cluster.third).waitFor({timeout: SOON_MS})
  assert.match(await page.locator('[data-test="lost-node"]').innerText(),
    /not responding since \d+:\d+: 0 consumers, 1 topic, 7 messages waiting then/)
  assert.strictEqual(await visitor.cell('topics', 'quiet', 'waiting'), '–')
  assert.match(await visitor.cell('topics', 'quiet', 'state'), /node lost/)
  assert.notStrictEqual(await page.locator('#live').getAttribute('data-state'), 'live')

  for (const path of ['/topics', '/nodes', '/topics/falls', '/topics/falls/readers', '/topics/quiet', `/nodes/${cluster.third}`,
    `/nodes/${cluster.first}`, '/lookup', '/counter']) {
    assert.ok(await answered(cluster, path) < AT_ONCE_MS, `${path} takes too long`)
    await visitor.open(path)
  }
  await visitor.open('/topics/quiet')
  assert.match(await page.locator('main').innerText(), /7 messages of this topic waiting there then/)
  assert.strictEqual(await page.locator('[data-test="delete"]').count(), 0)
  await visitor.open('/nodes')
  assert.strictEqual(await visitor.cell('nodes', cluster.third, 'waiting'), '–')

  await cluster.have('resume node')
  await visitor.open('/topics')
  await page.locator('#live[data-state="live"]').waitFor({timeout: SOON_MS})
  assert.strictEqual(await visitor.cell('topics', 'quiet', 'waiting'), '7')
  await page.locator('[data-test="event"][data-kind="node-back"]').first().waitFor()
}

/** Milliseconds until a page is there; the better of two, since the machine may have much to do. */
async function answered(cluster, path) {
  const took = []
  for (let time = 0; time < 2; time += 1) {
    const began = Date.now()
    await (await fetch(`${cluster.admin}${path}`)).text()
    took.push(Date.now() - began)
  }
  return Math.min(...took)
}
