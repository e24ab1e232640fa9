// axe-core over the page that is open, light and dark, on a desk and in a hand.
'use strict'

const fs = require('fs')
const {DESKTOP, PHONE} = require('./visitor')

const SOURCE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

/** The rules that the page breaks, each with an element. */
async function findings({page}, address) {
  const found = []
  for (const [device, size] of Object.entries({desktop: DESKTOP, phone: PHONE})) {
    await page.setViewportSize(size)
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({colorScheme})
      for (const violation of await violations(page)) {
        const where = violation.nodes[0]
        found.push(`${address} ${device} ${colorScheme}: ${violation.id} at ${where.target.join(' ')}: ${where.failureSummary}`)
      }
    }
  }
  await page.setViewportSize(DESKTOP)
  return found
}

/** The rules that the page breaks now. */
async function violations(page) {
  await page.evaluate(SOURCE)
  return page.evaluate(async () => (await window.axe.run(document, {resultTypes: ['violations']})).violations)
}

module.exports = {findings, violations}
