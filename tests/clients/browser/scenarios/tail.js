// The live tail of the message viewer: new messages come to the top, no more than are wanted, and what is read stays.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')

const TOPIC = 'stream'
const CHANNEL = 'readers'
const MOST = 20

module.exports = async ({visit, cluster}) => {
  const {first, second, nodes} = cluster
  for (const node of nodes) await cluster.create(node, TOPIC, CHANNEL)
  await cluster.publish(first, TOPIC, 'one', 'two')
  await cluster.known(TOPIC, 2, 2)
  const visitor = await visit()
  const {page} = visitor
  await visitor.open(`/topics/${TOPIC}/${CHANNEL}?look=1`)
  const rows = page.locator('#message-list > details')
  const bodies = () => rows.evaluateAll((all) => all.map((row) => row.querySelector('.preview').textContent))
  assert.deepStrictEqual(await bodies(), ['one', 'two'])
  const live = page.locator('[data-tail]')
  await live.click()
  await page.locator('#tail-state', {hasText: 'new messages appear at the top'}).waitFor()
  assert.deepStrictEqual(await bodies(), ['two', 'one'])

  // One message is being read, a word of it is selected.
  const read = rows.nth(1)
  await read.locator('.message-row').click()
  const selected = () => page.evaluate(() => getSelection().toString())
  await read.locator('pre').evaluate((body) => getSelection().selectAllChildren(body))
  assert.strictEqual(await selected(), 'one')
  await cluster.publish(second, TOPIC, 'three')
  await until('the new message is at the top', async () => (await bodies())[0] === 'three')
  assert.strictEqual(await selected(), 'one')
  assert.ok(await read.evaluate((row) => row.isConnected))

  await cluster.publish(first, TOPIC, ...Array.from({length: 2 * MOST}, (_, number) => `more ${number}`))
  await until('the newest is at the top', async () => (await bodies())[0] === `more ${2 * MOST - 1}`)
  const shown = await bodies()
  assert.strictEqual(shown.length, MOST)
  assert.ok(shown.includes('one'), 'what is read stays')
  assert.strictEqual(await selected(), 'one')

  await hide(page, true)
  await page.locator('#tail-state', {hasText: 'paused while the page is hidden'}).waitFor()
  await cluster.publish(first, TOPIC, 'meanwhile')
  await hide(page, false)
  await until('it goes on', async () => (await bodies())[0] === 'meanwhile')

  await live.click()
  assert.strictEqual(await live.getAttribute('aria-pressed'), 'false')
  assert.ok(await page.locator('#tail-state').isHidden())
}

/** As if another tab were in front. */
async function hide(page, hidden) {
  await page.evaluate((value) => {
    Object.defineProperty(document, 'hidden', {configurable: true, get: () => value})
    document.dispatchEvent(new Event('visibilitychange'))
  }, hidden)
}
