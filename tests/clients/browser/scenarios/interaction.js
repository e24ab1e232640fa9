// What a hand does: a selection that survives updates, a jump by Ctrl-K, a chart that is zoomed and read by keys, a series
// that is hidden, cards on a phone, an address that is none.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')
const {PHONE} = require('../visitor')

module.exports = async ({visit, cluster}) => {
  await cluster.create(cluster.first, 'jump-here', 'landing')
  await cluster.known('jump-here', 1)
  const visitor = await visit()
  const {page} = visitor
  await selection(visitor)
  await jump(visitor)
  await charts(visitor)
  await phone(await visit({viewport: PHONE}))

  visitor.allow(/404/)
  await visitor.open('/no/such/page', 404)
  await page.locator('[data-test="unknown-page"]').waitFor()
  const script = await fetch(`${cluster.admin}/no/such/page`)
  assert.deepStrictEqual([script.status, await script.json()], [404, {message: 'NOT_FOUND'}])
}

async function selection({page}) {
  await page.goto('/topics')
  await page.keyboard.press('j')
  await page.keyboard.press('j')
  const selected = () => page.locator('#topics tr.selected').getAttribute('data-key')
  const key = await selected()
  const taken = await page.locator('main').getAttribute('data-taken')
  await until('the page is updated', async () => (await page.locator('main').getAttribute('data-taken')) !== taken)
  assert.strictEqual(await selected(), key, 'the selection stays with its row')
  assert.strictEqual(await page.evaluate(() => document.activeElement.closest('tr')?.dataset.key), key, 'and so does the focus')
}

async function jump(visitor) {
  const {page} = visitor
  await page.keyboard.press('Control+k')
  await page.keyboard.type('landing')
  await page.locator('#jump .jump-list a', {hasText: 'jump-here / landing'}).first().waitFor()
  await visitor.going(() => page.keyboard.press('Enter'))
  assert.strictEqual(new URL(page.url()).pathname, '/topics/jump-here/landing')
}

async function charts(visitor) {
  const {page} = visitor
  await visitor.open('/counter')
  const chart = page.locator('.chart-svg').first()
  await chart.waitFor()
  await chart.focus()
  await page.keyboard.press('ArrowLeft')
  await page.locator('.read-out dd').first().waitFor()
  const lines = await page.locator('.hover-line:not(.hidden)').count()
  assert.ok(lines >= 2, `every chart shows the moment: ${lines}`)

  const name = page.locator('.legend li').first()
  await name.click()
  const path = page.locator('.chart-svg').first().locator('path[data-series="0"].line')
  await until('the series is hidden', async () => /hidden/.test(await path.getAttribute('class')))
  await name.click()

  const box = await chart.boundingBox()
  const y = box.y + box.height / 2
  await page.mouse.move(box.x + box.width * 0.3, y)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width * 0.9, y, {steps: 5})
  await page.mouse.up()
  await until('the address has the part of the history', () => new URL(page.url()).searchParams.has('from'))
  const from = new URL(page.url()).searchParams.get('from')
  await until('the chart begins there', async () => (await chart.getAttribute('data-from')) === from)
  await page.locator('[data-test="whole-span"]').click()
  await until('the whole history is back', () => !new URL(page.url()).searchParams.has('from'))

  await page.locator('[data-test="span"] a', {hasText: '1h'}).click()
  await visitor.open('/topics/orders')
  assert.strictEqual(await page.locator('[data-test="span"] a[aria-current]').innerText(), '1h', 'the time span is kept')
}

async function phone(visitor) {
  const {page} = visitor
  await visitor.open('/topics')
  const cell = page.locator('#topics.cards tbody td[data-label="Waiting"]').first()
  await cell.waitFor()
  assert.match(await cell.evaluate((element) => getComputedStyle(element, '::before').content), /Waiting/)
}
