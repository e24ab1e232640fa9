// axe-core over the page that is open, light and dark, on a desk and in a hand.
'use strict'

const fs = require('fs')
const {DESKTOP, PHONE} = require('./visitor')

const SOURCE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

// The colours of a phone are those of a desk.
const LOOKS = [[DESKTOP, 'light'], [DESKTOP, 'dark'], [PHONE, 'light']]

/** The rules that the page breaks, each with an element. */
async function findings({page}, address) {
  const found = []
  for (const [size, colorScheme] of LOOKS) {
    await page.setViewportSize(size)
    await page.emulateMedia({colorScheme})
    for (const violation of await violations(page)) {
      const where = violation.nodes[0]
      found.push(`${address} ${size.width} ${colorScheme}: ${violation.id} at ${where.target.join(' ')}: ${where.failureSummary}`)
    }
  }
  await page.setViewportSize(DESKTOP)
  return found
}

/** The rules that the page breaks now. */
async function violations(page) {
  await page.evaluate(SOURCE)
  // Colours that are on their way to others are none of the page's.
  await page.evaluate(() => document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime < Infinity).forEach((one) => one.finish()))
  return page.evaluate(async () => (await window.axe.run(document, {resultTypes: ['violations']})).violations)
}

module.exports = {findings, violations}
