// An nsqlookupd that is stopped blanks nothing: the nodes are those that were registered.
'use strict'

const assert = require('assert')

const AT_ONCE_MS = 1500

module.exports = async ({visit, cluster}) => {
  const visitor = await visit()
  const {page} = visitor
  await visitor.open('/topics')
  const before = await visitor.rows('topics')
  await cluster.have('hang nsqlookupd')
  await page.locator('#warnings').getByText(cluster.lookupd).first().waitFor()
  for (const path of ['/topics', '/nodes', '/topics/falls', '/topics/falls/readers', `/nodes/${cluster.first}`, '/lookup', '/counter']) {
    assert.ok(await answered(cluster, path) < AT_ONCE_MS, `${path} takes too long`)
    await visitor.open(path)
    assert.notStrictEqual(await page.locator('#live').getAttribute('data-state'), 'live')
  }
  await visitor.open('/topics')
  assert.deepStrictEqual((await visitor.rows('topics')).length, before.length)
  assert.match(await visitor.cell('topics', 'falls', 'state'), /falling behind/)
  await visitor.open('/nodes')
  assert.match(await page.locator('#lookupds').innerText(), /not responding/)
  await cluster.have('resume nsqlookupd')
  await page.locator('#live[data-state="live"]').waitFor()
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
