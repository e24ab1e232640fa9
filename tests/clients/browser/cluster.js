// The daemons behind the pages, asked over HTTP: what a page says it did is checked here.
'use strict'

const readline = require('readline')

const PATIENCE_MS = 20_000
const PAUSE_MS = 50

class Cluster {
  constructor([admin, direct, lookupd, first, second, third]) {
    this.admin = `http://${admin}`
    // The one that asks its nsqds without nsqlookupd.
    this.direct = `http://${direct}`
    this.lookupd = lookupd
    this.first = first
    this.second = second
    this.third = third
    this.nodes = [first, second]
    this.lines = readline.createInterface({input: process.stdin})[Symbol.asyncIterator]()
  }

  async publish(node, topic, ...bodies) {
    for (const body of bodies) await ask('POST', node, `/pub?topic=${encodeURIComponent(topic)}`, body)
  }

  async create(node, topic, ...channels) {
    await ask('POST', node, `/topic/create?topic=${encodeURIComponent(topic)}`)
    for (const channel of channels) {
      await ask('POST', node, `/channel/create?topic=${encodeURIComponent(topic)}&channel=${encodeURIComponent(channel)}`)
    }
  }

  /** A topic on one node; nothing, if it is not there. */
  async topic(node, name) {
    const {topics} = await ask('GET', node, '/stats?format=json')
    return topics.find((topic) => topic.topic_name === name)
  }

  async channel(node, topic, name) {
    return (await this.topic(node, topic))?.channels.find((channel) => channel.channel_name === name)
  }

  async registeredTopics() {
    return (await ask('GET', this.lookupd, '/topics')).topics
  }

  async registeredChannels(topic) {
    return (await ask('GET', this.lookupd, `/channels?topic=${encodeURIComponent(topic)}`)).channels
  }

  /** HTTP addresses of the nodes that consumers are told of. */
  async producers(topic) {
    const {producers} = await ask('GET', this.lookupd, `/lookup?topic=${encodeURIComponent(topic)}`)
    return producers.map((node) => `${node.broadcast_address}:${node.http_port}`).sort()
  }

  /** Until nsqadmin's page of this topic has that many nodes and messages: what pages show may be a second old. */
  async known(topic, nodes, messages = 0) {
    await until(`nsqadmin finds ${topic} on ${nodes} nodes`, async () => {
      const answer = await fetch(`${this.admin}/topics/${encodeURIComponent(topic)}`)
      const page = await answer.text()
      const there = this.nodes.filter((node) => page.includes(`data-key="${node}"`)).length
      const [, count] = /data-stat="messages"[^>]*><dt>[^<]*<\/dt><dd>([0-9,]+)/.exec(page) ?? []
      return answer.ok && there === nodes && Number(count?.replace(',', '')) === messages
    })
  }

  /** Has the second nsqd killed. */
  async killSecond() {
    await this.have('kill')
  }

  /** Has the test do something to the daemons. */
  async have(done) {
    console.log(done)
    await this.lines.next()
  }
}

async function ask(method, address, path, body) {
  const answer = await fetch(`http://${address}${path}`, {method, body})
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${method} ${address}${path}: ${answer.status} ${text}`)
  return text.startsWith('{') ? JSON.parse(text) : text
}

/** What `condition` gives once it gives something. */
async function until(what, condition) {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    const found = await condition()
    if (found) return found
    if (performance.now() > deadline) throw new Error(`waited ${PATIENCE_MS} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
}

module.exports = {Cluster, until}
