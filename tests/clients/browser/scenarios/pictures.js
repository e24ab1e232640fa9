// Every page, light and dark, on a desk and in a hand: pictured, and nowhere wider than the screen.
'use strict'

const assert = require('assert')
const path = require('path')
const {DESKTOP, PHONE} = require('../visitor')

module.exports = async ({visit, cluster, folder}) => {
  const pages = {
    topics: '/topics',
    topic: '/topics/orders',
    channel: '/topics/orders/billing?look=1',
    nodes: '/nodes',
    node: `/nodes/${cluster.first}`,
    consumers: '/consumers',
    publishers: '/publishers',
    lookup: '/lookup',
    counter: '/counter',
    confirm: '/topics/orders?action=delete',
    unknown: '/topics/nobody-knows',
  }
  // Or buttons would be pictured on their way from one colour to the other.
  const visitor = await visit({reducedMotion: 'reduce'})
  visitor.allow(/404/)
  for (const [name, address] of Object.entries(pages)) {
    await visitor.open(address, name === 'unknown' ? 404 : 200)
    await picture(visitor, folder, name)
  }
  await visitor.open('/topics/orders/billing')
  await visitor.asked('delete')
  await picture(visitor, folder, 'dialog')
}

async function picture({page}, folder, name) {
  for (const [device, size] of Object.entries({desktop: DESKTOP, phone: PHONE})) {
    await page.setViewportSize(size)
    const [wanted, there] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth])
    assert.ok(wanted <= there, `${name} is ${wanted} wide on a ${device} of ${there}`)
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({colorScheme})
      await page.screenshot({path: path.join(folder, `${name}-${device}-${colorScheme}.png`), fullPage: name !== 'dialog'})
    }
  }
  await page.setViewportSize(DESKTOP)
}
