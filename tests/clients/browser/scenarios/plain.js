// Without scripts: every page reads, search works, and a topic is deleted by way of the confirmation page.
'use strict'

const assert = require('assert')

const TOPIC = 'plain'

module.exports = async ({visit, cluster}) => {
  const {first} = cluster
  await cluster.create(first, TOPIC, 'only')
  await cluster.publish(first, TOPIC, 'one', 'two')
  await cluster.known(TOPIC, 1, 2)
  const visitor = await visit({javaScriptEnabled: false})
  const {page} = visitor
  for (const path of ['/counter', '/lookup', '/nodes', `/nodes/${first}`, '/topics/orders', '/topics/orders/billing?look=1']) {
    await visitor.open(path)
    assert.strictEqual(await page.locator('#theme').isVisible(), false, 'what needs scripts is not shown')
  }
  assert.ok(await page.locator('#inside pre[data-kind]').count() > 0)

  await visitor.open('/topics')
  await page.fill('#topics-search', TOPIC)
  await visitor.going(() => page.click('form[data-filter="topics"] button'))
  assert.deepStrictEqual(await visitor.rows('topics'), [TOPIC])
  await visitor.going(() => page.click(`#topics tr[data-key="${TOPIC}"] th a`))
  assert.strictEqual(await visitor.stat('backlog'), 2)

  await visitor.going(() => page.click('[data-test="delete"]'))
  assert.match(await page.locator('[data-test="losses"]').innerText(), /2 messages will be lost/)
  await visitor.going(() => page.click('[data-cancel]'))
  assert.ok(await cluster.topic(first, TOPIC))
  await visitor.going(() => page.click('[data-test="delete"]'))
  await page.fill('#typed', 'plane')
  visitor.allow(/400/)
  await visitor.going(() => page.click('[data-go]'))
  assert.match(await page.locator('[data-test="confirm-error"]').innerText(), /not the name/)
  assert.ok(await cluster.topic(first, TOPIC))
  await page.fill('#typed', TOPIC)
  await visitor.going(() => page.click('[data-go]'))
  await visitor.isDone()
  assert.strictEqual(await cluster.topic(first, TOPIC), undefined)
}
