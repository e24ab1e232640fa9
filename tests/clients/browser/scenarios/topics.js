// The list of topics: numbers that move, search, sorting, keys, colours.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')

module.exports = async ({visit, cluster}) => {
  for (const topic of ['Zebra', 'apple', 'Mango']) await cluster.create(cluster.first, topic)
  for (const topic of ['Zebra', 'apple', 'Mango']) await cluster.known(topic, 1)
  const visitor = await visit({colorScheme: 'light'})
  const {page} = visitor
  await visitor.open('/')

  const waiting = async () => Number((await visitor.cell('topics', 'orders', 'waiting')).replace(/\D/g, ''))
  const before = await visitor.stat('waiting')
  const ofOrders = await waiting()
  await cluster.publish(cluster.first, 'orders', ...Array(7).fill('one more'))
  // Once in each of its two channels.
  await visitor.comesTo('waiting', before + 14)
  assert.strictEqual(await waiting(), ofOrders + 14)

  await page.keyboard.press('/')
  const search = page.locator('#topics-search')
  assert.ok(await search.evaluate((field) => field === document.activeElement))
  await page.keyboard.type('BILL')
  await until('the search finds the topic by its channel', async () => (await visitor.rows('topics')).join() === 'orders')
  await until('the address has the search', () => new URL(page.url()).searchParams.get('q') === 'BILL')
  await search.fill('nothing like that')
  await page.getByText('No rows match').waitFor()
  await page.locator('#topics tbody a[data-soft]').click()
  await until('all are back', async () => (await visitor.rows('topics')).length > 3)

  const sorted = async (column, order) => {
    await page.locator(`#topics th[data-column="${column}"] a`).click()
    await page.locator(`#topics th[data-column="${column}"][aria-sort="${order}"]`).waitFor()
    return visitor.rows('topics')
  }
  const upwards = await sorted('topic', 'ascending')
  assert.deepStrictEqual(upwards, [...upwards].sort((a, b) => a.toLowerCase() < b.toLowerCase() ? -1 : 1))
  assert.deepStrictEqual(await sorted('topic', 'descending'), [...upwards].reverse())
  assert.strictEqual((await sorted('waiting', 'descending'))[0], 'orders')

  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const light = await ground()
  const theme = page.locator('#theme')
  await theme.click()
  assert.strictEqual(await ground(), light, 'light as the system has it, and as chosen')
  await theme.click()
  const dark = await ground()
  assert.notStrictEqual(dark, light)
  await page.reload()
  assert.strictEqual(await ground(), dark, 'the choice is kept')

  await page.keyboard.press('g')
  await visitor.going(() => page.keyboard.press('n'))
  assert.strictEqual(new URL(page.url()).pathname, '/nodes')
}
