// One nsqd is killed while pages are open. nsqlookupd forgets it at once, but nsqadmin does not; where nsqds are asked
// directly, the pages say which one does not answer.
'use strict'

const assert = require('assert')
const path = require('path')
const {until} = require('../cluster')

module.exports = async ({visit, cluster, folder}) => {
  const {first, second} = cluster
  const [list, node, direct] = [await visit(), await visit(), await visit({baseURL: cluster.direct})]
  await list.open('/topics')
  await node.open(`/nodes/${second}`)
  await direct.open('/topics')
  for (const visitor of [list, direct]) {
    await until('nothing is warned of', async () => await visitor.page.locator('#warnings').count() === 0)
  }
  await cluster.killSecond()

  const {depth, channels} = await cluster.topic(first, 'orders')
  const waiting = channels.reduce((sum, channel) => sum + channel.depth, depth)
  for (const visitor of [list, direct]) {
    await until('only what the other node has is shown', async () =>
      Number((await visitor.cell('topics', 'orders', 'waiting')).replace(/\D/g, '')) === waiting)
  }
  await named(direct, cluster)
  const diagnosis = node.page.locator('[data-test="diagnosis"]')
  await diagnosis.waitFor()
  assert.match(await diagnosis.innerText(), /gone since/, 'the page of the node says so and shows what was there')

  for (const address of ['/nodes', '/topics/orders', '/topics/orders/billing', '/counter']) {
    await list.open(address)
    await direct.open(address)
    await named(direct, cluster)
    const name = `loss-${address.split('/').pop()}-desktop-light.png`
    await direct.page.screenshot({path: path.join(folder, name), fullPage: true})
  }
}

async function named({page}, {first, second}) {
  const warnings = page.locator('#warnings')
  await warnings.getByText(second).first().waitFor()
  assert.ok(!(await warnings.innerText()).includes(first))
}
