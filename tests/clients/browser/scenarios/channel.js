// A channel's page: pause it and see it fill, look at what is inside, empty it, delete it.
'use strict'

const assert = require('assert')
const fs = require('fs')

const TOPIC = 'letters'
const CHANNEL = 'readers'
const SCRIPT = '<script>window.wasRun = true</script><img src=x onerror="window.wasRun = true">'
const LARGEST = 1 << 20

module.exports = async ({visit, cluster}) => {
  const {first} = cluster
  await cluster.create(first, TOPIC, CHANNEL)
  await cluster.publish(first, TOPIC, '{"id":18446744073709551615,"to":["<b>","ö"]}', SCRIPT, Buffer.from([0, 255, 1, 254]),
    Buffer.alloc(LARGEST, 0xfe))
  await cluster.known(TOPIC, 1, 4)
  const visitor = await visit()
  const {page} = visitor
  await visitor.open(`/topics/${TOPIC}/${CHANNEL}`)

  const state = () => cluster.channel(first, TOPIC, CHANNEL)
  await visitor.cancel(await visitor.asked('pause'))
  assert.strictEqual((await state()).paused, false)
  await visitor.agree(await visitor.asked('pause'))
  assert.strictEqual((await state()).paused, true)
  await cluster.publish(first, TOPIC, 'meanwhile')
  await visitor.comesTo('depth', 5)

  await page.click('[data-test="look"]')
  const bodies = page.locator('#inside pre[data-kind]')
  await page.locator('#inside [data-test="message"]').first().waitFor()
  await page.locator('#inside [data-test="message"]').evaluateAll((rows) => rows.forEach((row) => { row.open = true }))
  assert.deepStrictEqual(await bodies.evaluateAll((all) => all.map((body) => body.dataset.kind)),
    ['JSON', 'text', 'hexadecimal', 'hexadecimal', 'text'])
  const json = await bodies.nth(0).innerText()
  assert.ok(json.includes('"id": 18446744073709551615') && json.includes('"<b>"'), json)
  assert.strictEqual(await bodies.nth(1).innerText(), SCRIPT)
  assert.match(await bodies.nth(2).innerText(), /00 ff 01 fe/)
  assert.match(await page.locator('#inside [data-test="truncated"]').innerText(), /of 1.048.576 bytes/)
  assert.strictEqual(await page.locator('#inside script, #inside img, #inside b').count(), 0)
  assert.strictEqual(await page.evaluate(() => window.wasRun), undefined)
  assert.strictEqual((await state()).depth, 5, 'looking takes nothing')
  await page.fill('#inside input[name="look-text"]', 'onerror')
  await visitor.going(() => page.click('[data-test="reload-messages"]'))
  assert.strictEqual(await page.locator('#inside [data-test="message"]').count(), 1, 'the filter finds one')
  await page.locator('#inside [data-test="message"]').evaluate((row) => { row.open = true })
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('[data-test="download"]')])
  assert.strictEqual(fs.readFileSync(await file.path(), 'utf8'), SCRIPT)

  await visitor.open(`/topics/${TOPIC}/${CHANNEL}`)
  await visitor.agree(await visitor.asked('unpause'))
  assert.strictEqual((await state()).paused, false)
  const full = async () => assert.strictEqual((await state()).depth, 5)
  await visitor.destroy('empty', {messages: 5, typed: CHANNEL, unchanged: full})
  assert.strictEqual((await state()).depth, 0)
  const there = async () => assert.ok(await state())
  await visitor.destroy('delete', {messages: 0, unchanged: there})
  assert.strictEqual(await state(), undefined)
  assert.strictEqual(new URL(page.url()).pathname, `/topics/${TOPIC}`)
}
