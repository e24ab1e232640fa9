// Names with every kind of character they may have, short-lived ones among them: through links, forms and dialogs.
'use strict'

const assert = require('assert')

const CASES = [
  ['.a.', '-'],
  ['aZ09._-', 'Za90_.-'],
  ['brief.One_2-3#ephemeral', 'brief-One_2.3#ephemeral'],
  ['n'.repeat(64), 'c'.repeat(64)],
]

module.exports = async ({visit, cluster}) => {
  const {first} = cluster
  const visitor = await visit()
  const {page} = visitor
  // A short-lived topic goes with its last channel, and its page with it.
  visitor.allow(/404/)
  for (const [topic, channel] of CASES) {
    await cluster.create(first, topic, channel)
    await cluster.publish(first, topic, 'body')
  }
  for (const [topic] of CASES) await cluster.known(topic, 1, 1)
  for (const [topic, channel] of CASES) {
    await visitor.open('/topics')
    await visitor.going(() => page.locator('#topics').getByRole('link', {name: topic, exact: true}).click())
    assert.strictEqual(await visitor.stat('messages'), 1, topic)
    await visitor.going(() => page.locator('#channels').getByRole('link', {name: channel, exact: true}).click())
    assert.strictEqual(await visitor.stat('depth'), 1, topic)
    await visitor.agree(await visitor.asked('pause'))
    assert.strictEqual((await cluster.channel(first, topic, channel)).paused, true, topic)
    await visitor.agree(await visitor.asked('delete'), channel)
    assert.strictEqual(await cluster.channel(first, topic, channel), undefined, topic)
  }
}
