// The watch over the pages can see: a script that the policy forbids, and a picture from elsewhere.
'use strict'

const assert = require('assert')
const {until} = require('../cluster')

module.exports = async ({visit}) => {
  const visitor = await visit()
  await visitor.open('/topics')
  await visitor.page.evaluate(() => {
    const script = document.createElement('script')
    script.textContent = 'window.wasRun = true'
    const picture = document.createElement('img')
    picture.src = 'http://127.0.0.2:9/elsewhere.png'
    document.body.append(script, picture)
  })
  for (const seen of [/policy: script-src/, /policy: img-src/]) {
    await until(`${seen} is noted`, () => visitor.troubles.some((trouble) => seen.test(trouble)))
  }
  assert.strictEqual(await visitor.page.evaluate(() => window.wasRun), undefined)
  visitor.allow(/policy: |violates the following|elsewhere\.png/)
}
