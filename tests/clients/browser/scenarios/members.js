// The page of a replicated cluster: a node is stepped down and resumed; one that was lost is removed for good.
'use strict'

const assert = require('assert')
const {findings} = require('../axe')
const {until} = require('../cluster')

module.exports = async ({visit, cluster}) => {
  const {first, second, third} = cluster
  const report = async () => (await fetch(`http://${first}/cluster`)).json()
  const memberAt = async (http) => (await report()).members.find((member) => `${member.broadcast_address}:${member.http_port}` === http)
  const visitor = await visit({reducedMotion: 'reduce'})
  const {page} = visitor
  await visitor.open('/cluster')
  assert.strictEqual((await visitor.rows('members')).length, 3)
  const rowOf = async (http) => page.locator(`#members tr[data-key="member-${(await memberAt(http)).id}"]`)
  assert.deepStrictEqual(await findings(visitor, '/cluster'), [])
  const row = await rowOf(second)

  await visitor.cancel(await visitor.asked('stepdown', row))
  assert.strictEqual((await memberAt(second)).is_stepping_down, false)
  await visitor.agree(await visitor.asked('stepdown', row))
  await until('the node steps down and leads nothing', async () => {
    const {members, shards} = await report()
    const {id} = await memberAt(second)
    return members.find((member) => member.id === id).is_stepping_down && shards.every((shard) => shard.leader !== id)
  })
  await row.locator('[data-state="stepped-down"]').waitFor()

  await visitor.agree(await visitor.asked('resume', row))
  await until('the node leads its shard again', async () => {
    const {id, is_stepping_down: isSteppingDown} = await memberAt(second)
    return !isSteppingDown && (await report()).shards.some((shard) => shard.owner === id && shard.leader === id)
  })
  await until('the page shows it', async () => (await row.locator('[data-state="stepped-down"]').count()) === 0)

  const lost = await rowOf(third)
  const {id, address} = await memberAt(third)
  await cluster.have('kill')
  await lost.locator('[data-state="down"]').waitFor()
  const question = await visitor.asked('remove', lost)
  assert.deepStrictEqual(await findings(visitor, 'the question'), [])
  await visitor.cancel(question)
  assert.ok(await memberAt(third))
  await visitor.agree(await visitor.asked('remove', lost), address)
  await until('the node is no member', async () => !(await report()).members.some((member) => member.id === id))
  await until('the page shows two', async () => (await visitor.rows('members')).length === 2)
}
