// A topic's page: publish, create a channel, pause, empty, delete; and one that is not there.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')

const TOPIC = 'parcels'

module.exports = async ({visit, cluster}) => {
  const {first, second, nodes} = cluster
  for (const node of nodes) await cluster.create(node, TOPIC)
  await cluster.known(TOPIC, 2)
  const visitor = await visit()
  const {page} = visitor
  await visitor.open(`/topics/${TOPIC}`)

  await page.fill('#publish-body', 'hello from a page\nöß')
  await page.selectOption('#publish-node', second)
  await visitor.going(() => page.click('[data-test="publish"]'))
  await visitor.isDone()
  const {depth, message_bytes: bytes} = await cluster.topic(second, TOPIC)
  assert.deepStrictEqual([depth, bytes], [1, Buffer.byteLength('hello from a page\nöß')])
  assert.strictEqual((await cluster.topic(first, TOPIC)).depth, 0)

  const create = await visitor.asked('create-channel')
  await create.locator('input[name="channel"]').fill('sorters')
  await visitor.agree(create)
  await until('the channel has the message', async () => (await cluster.channel(second, TOPIC, 'sorters'))?.depth === 1)
  assert.ok(await cluster.channel(first, TOPIC, 'sorters'))
  assert.deepStrictEqual(await cluster.registeredChannels(TOPIC), ['sorters'])

  const paused = async () => (await Promise.all(nodes.map((node) => cluster.topic(node, TOPIC)))).map((topic) => topic.paused)
  await visitor.cancel(await visitor.asked('pause'))
  assert.deepStrictEqual(await paused(), [false, false])
  await visitor.agree(await visitor.asked('pause'))
  assert.deepStrictEqual(await paused(), [true, true])
  await page.locator('.page-head [data-state="paused"]').waitFor()

  await cluster.publish(first, TOPIC, 'one', 'two', 'three')
  await visitor.comesTo('depth', 3)
  const waiting = async () => assert.strictEqual((await cluster.topic(first, TOPIC)).depth, 3)
  await visitor.destroy('empty', {messages: 3, typed: TOPIC, unchanged: waiting})
  assert.strictEqual((await cluster.topic(first, TOPIC)).depth, 0)
  assert.strictEqual((await cluster.channel(second, TOPIC, 'sorters')).depth, 1, 'its channels keep theirs')

  await visitor.agree(await visitor.asked('unpause'))
  assert.deepStrictEqual(await paused(), [false, false])

  const there = async () => assert.ok((await cluster.topic(first, TOPIC)) && (await cluster.topic(second, TOPIC)))
  await visitor.destroy('delete', {messages: 1, typed: TOPIC, unchanged: there})
  assert.strictEqual(new URL(page.url()).pathname, '/topics')
  for (const node of nodes) assert.strictEqual(await cluster.topic(node, TOPIC), undefined)
  assert.ok(!(await cluster.registeredTopics()).includes(TOPIC))

  visitor.allow(/404/)
  await visitor.open(`/topics/${TOPIC}`, 404)
  assert.match(await page.locator('[data-test="no-such-topic"]').innerText(), /No topic of this name exists/)
  await visitor.open('/topics/orders/nobody', 404)
  await page.locator('[data-test="no-such-channel"]').waitFor()
}
