// axe-core over every page, light and dark, on a desk and in a hand: no findings. The page of a cluster is checked with its
// buttons.
'use strict'

const assert = require('assert')
const {findings, violations} = require('../axe')

module.exports = async ({visit, cluster}) => {
  const visitor = await visit({reducedMotion: 'reduce'})
  visitor.allow(/404/)
  const pages = {
    '/topics': 200,
    '/topics/orders': 200,
    '/topics/orders/billing?look=1': 200,
    '/nodes': 200,
    [`/nodes/${cluster.first}`]: 200,
    [`/nodes/${cluster.first}?tab=channels`]: 200,
    [`/nodes/${cluster.first}?tab=consumers`]: 200,
    [`/nodes/${cluster.first}?tab=publishers`]: 200,
    '/consumers': 200,
    '/publishers': 200,
    '/cluster': 404,
    '/lookup': 200,
    '/counter': 200,
    '/jump?q=or': 200,
    '/topics/orders?action=delete': 200,
    '/topics?action=create': 200,
    '/topics/nobody-knows': 404,
    '/topics/orders/nobody': 404,
    '/no/such/page': 404,
  }
  const found = []
  for (const [address, status] of Object.entries(pages)) {
    await visitor.open(address, status)
    for (const row of await visitor.page.locator('#inside details').all()) await row.evaluate((details) => { details.open = true })
    found.push(...await findings(visitor, address))
  }
  assert.deepStrictEqual(found, [])
  await seesFaults(visitor)
}

/** The check can fail: a picture without a text is found. */
async function seesFaults({page}) {
  await page.evaluate(() => document.querySelector('main').append(document.createElement('img')))
  assert.ok((await violations(page)).some((violation) => violation.id === 'image-alt'))
}
