// Publishers with all their topics, and consumers with the rate at which they finish and when they last did.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')

module.exports = async ({visit, cluster}) => {
  const visitor = await visit()
  const {page} = visitor
  await visitor.open('/publishers')
  const row = page.locator('#publishers tbody tr').first()
  await row.locator('[data-test="more-topics"] summary', {hasText: '12 topics'}).click()
  const topics = await row.locator('td a').allInnerTexts()
  assert.deepStrictEqual(topics.sort(), Array.from({length: 12}, (_, number) => `of-many-${10 + number}`))
  await cluster.have('finish')
  for (const [address, table] of [['/consumers', 'consumers'], ['/topics/orders/billing', 'consumers'], ['/topics/orders/billing', 'clients']]) {
    await visitor.open(address)
    const [key] = await visitor.rows(table)
    await until(`${address} shows a rate`, async () => /[0-9]/.test(await visitor.cell(table, key, 'rate')))
    assert.match(await visitor.cell(table, key, 'last-finish'), / ago$/)
  }
}
