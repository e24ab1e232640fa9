// A channel that falls behind and one whose consumer finishes nothing, among 260 idle topics: each is named within half a
// minute, stays named, and is explained; idle topics are no trouble. Two more topics wait without a consumer.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')

const SOON_MS = 30_000
const WHILE_MS = 20_000

module.exports = async ({visit, cluster}) => {
  const visitor = await visit()
  const {page} = visitor
  await cluster.have('traffic')
  const began = Date.now()
  await visitor.open('/topics')
  const state = (topic) => page.locator(`#topics tr[data-key="${topic}"] td.state`)
  const named = async (topic, ...names) => {
    const wanted = names.map((name) => `[data-state="${name}"]`).join(', ')
    await state(topic).locator(wanted).first().waitFor({timeout: Math.max(SOON_MS - (Date.now() - began), 1)})
  }
  await Promise.all([named('falls', 'falling-behind'), named('holds', 'slow', 'stuck')])

  const troubled = ['falls', 'holds', 'lonely', 'quiet']
  assert.strictEqual(await visitor.stat('attention'), troubled.length, 'idle topics need no attention')
  const first = await visitor.rows('topics')
  assert.deepStrictEqual(first.slice(0, troubled.length).sort(), troubled, 'the worst come first')
  assert.match(await page.locator('.pager').innerText(), /of 264/)

  // The consumer holds its messages for five seconds each time: never, at any moment, is that fine.
  const until_ = Date.now() + WHILE_MS
  while (Date.now() < until_) {
    for (const [topic, name] of [['falls', /falling behind/], ['holds', /stuck|nothing finished/]]) {
      assert.match(await state(topic).innerText(), name)
    }
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  assert.match(await state('holds').innerText(), /stuck/)
  assert.match(await page.title(), /^\(\d\) Topics/)
  await until('the icon has the number', async () =>
    (await page.locator('link[rel="icon"]').getAttribute('href')).startsWith('data:image/svg'))

  await page.locator('[data-test="attention"]').click()
  await page.waitForURL(/show=attention/)
  assert.deepStrictEqual((await visitor.rows('topics')).sort(), troubled)
  await page.locator('[data-test="show-all"]').click()

  await visitor.open('/topics/falls/readers')
  const said = await page.locator('[data-test="diagnosis"]').innerText()
  assert.match(said, /^Falling behind since \d+:\d+.*: [0-9.]+\/s in, [0-9.]+\/s out\. The consumer is full \(RDY 1\)\./)
  assert.match(said, /Oldest message .*At this rate it never drains/)
  await visitor.open('/topics/holds')
  assert.match(await page.locator('[data-test="diagnosis"]').innerText(), /readers: Stuck since .* 1 consumer holds 5 messages/)
  await visitor.open('/topics')
  await page.locator('[data-test="event"][data-kind="falling-behind"]').first().waitFor()
}
