// Scenarios that use nsqd through nsqjs: scenarios.js <name> <address>...
// The address is nsqd's for TCP; those of discover are nsqlookupds' for HTTP.
// Exit status 0 and a short report, or 1 and the reason.
'use strict'

const fs = require('fs')
const readline = require('readline')
const nsq = require('nsqjs')

const TOPIC = 'node'
const CHANNEL = 'scenarios'
// More than any scenario should take.
const PATIENCE_MS = 60_000

const [name, ...addresses] = process.argv.slice(2)
const [address] = addresses
const [host, port] = address.split(':')

const scenarios = {
  async publish() {
    await publishAll(bodies(10))
  },

  async 'multi-publish'() {
    const writer = await connectedWriter()
    await answer((done) => writer.publish(TOPIC, bodies(10), done))
  },

  async 'deferred-publish'() {
    const delay = 700
    const received = []
    const reader = startReader({}, (message) => {
      received.push(performance.now())
      message.finish()
    })
    await event(reader, nsq.Reader.NSQD_CONNECTED)
    const writer = await connectedWriter()
    const published = performance.now()
    await answer((done) => writer.deferPublish(TOPIC, ['later'], delay, done))
    await until('the message comes', () => received.length > 0)
    check(received[0] - published >= delay, `came after ${received[0] - published} ms, not ${delay} ms`)
  },

  'consume-one': () => consume(50, 1),
  'consume-many': () => consume(1000, 100),

  async requeue() {
    const delay = 200
    await publishAll(bodies(1))
    const deliveries = []
    startReader({}, (message) => {
      deliveries.push({attempts: message.attempts, at: performance.now()})
      if (deliveries.length < 4) message.requeue(delay, false)
      else message.finish()
    })
    await until('four deliveries', () => deliveries.length >= 4)
    checkAttempts(deliveries, '1,2,3,4')
    for (let i = 1; i < deliveries.length; i++) {
      const away = deliveries[i].at - deliveries[i - 1].at
      check(away >= delay, `came back after ${away} ms, not ${delay} ms`)
    }
  },

  // Holds a message for more than twice its timeout.
  async touch() {
    await publishAll(bodies(1))
    const deliveries = []
    let finished = false
    startReader({messageTimeout: 1000}, async (message) => {
      deliveries.push({attempts: message.attempts})
      for (let i = 0; i < 8; i++) {
        await sleep(300)
        message.touch()
      }
      message.finish()
      finished = true
    })
    await until('the message is finished', () => finished)
    checkAttempts(deliveries, '1')
  },

  async timeout() {
    await publishAll(bodies(1))
    const deliveries = []
    startReader({messageTimeout: 1000, maxInFlight: 2}, (message) => {
      deliveries.push({attempts: message.attempts, at: performance.now()})
      if (message.attempts > 1) message.finish()
    })
    await until('two deliveries', () => deliveries.length >= 2)
    checkAttempts(deliveries, '1,2')
    const held = deliveries[1].at - deliveries[0].at
    // nsqd counts from when it sent the message, which was a little earlier.
    check(held >= 900, `came back after ${held} ms`)
  },

  // Has nsqd killed while messages are queued, and publishes more afterwards.
  async reconnect() {
    const before = 200
    const all = bodies(before + 100)
    await publishAll(all.slice(0, before))
    const seen = new Set()
    // The interval, in seconds, is also how often a lost nsqd is tried again.
    startReader({messageTimeout: 1000, lookupdPollInterval: 1}, async (message) => {
      await sleep(2)
      seen.add(message.body.toString())
      message.finish()
    })
    await until('some messages come', () => seen.size >= 20)
    await restart()
    // A writer that has lost its nsqd stays lost; its users make a new one.
    await publishAll(all.slice(before))
    await until('all messages come', () => seen.size === all.length)
  },

  async 'large-body'() {
    const sent = Buffer.from('0123456789'.repeat(10_000))
    await publishAll([sent])
    const received = []
    startReader({}, (message) => {
      received.push(message.body)
      message.finish()
    })
    await until('the message comes', () => received.length > 0)
    check(sent.equals(received[0]), `another body of ${received[0].length} bytes came back`)
  },

  // Idles for longer than nsqd lets a client be silent.
  async heartbeat() {
    let received = 0
    let lost = false
    const settings = {heartbeatInterval: 1}
    const reader = startReader(settings, (message) => {
      received += 1
      message.finish()
    })
    reader.on(nsq.Reader.NSQD_CLOSED, () => (lost = true))
    const writer = await connectedWriter(settings)
    writer.on(nsq.Writer.CLOSED, () => (lost = true))
    await sleep(3500)
    check(!lost, 'a connection was lost')
    await answer((done) => writer.publish(TOPIC, 'after idling', done))
    await until('the message comes', () => received === 1)
  },

  // Knows only nsqlookupds. One of the nsqds that it finds there is killed.
  async discover() {
    const seen = new Set()
    const nsqds = new Set()
    const settings = {
      nsqdTCPAddresses: [],
      lookupdHTTPAddresses: addresses,
      lookupdPollInterval: 1,
      maxInFlight: 4,
      messageTimeout: 1000,
    }
    const reader = startReader(settings, async (message) => {
      await sleep(2)
      seen.add(message.body.toString())
      message.finish()
    })
    reader.on(nsq.Reader.NSQD_CONNECTED, (host, port) => nsqds.add(`${host}:${port}`))
    await until('two nsqds are found', () => nsqds.size >= 2)
    await until('some messages come', () => seen.size >= 20)
    const published = Number(await restart())
    await until(`${published} messages come`, () => seen.size === published)
  },

  // Knows only nsqlookupds and has default settings but for the number in flight.
  pauses: () => pauses({nsqdTCPAddresses: [], lookupdHTTPAddresses: addresses, maxInFlight: 3}),
  // Knows only nsqlookupds and has default settings: one message in flight.
  'default-pauses': () => pauses({nsqdTCPAddresses: [], lookupdHTTPAddresses: addresses}),
  // Knows one nsqd and has default settings: one message in flight.
  'single-pauses': () => pauses({}),

  // Knows some nsqds and has default settings: one message in flight. Reports how many messages come in a second.
  async rate() {
    const count = Number(process.env.NSQ_COUNT)
    const times = []
    startReader({nsqdTCPAddresses: addresses}, (message) => {
      times.push(performance.now())
      message.finish()
    })
    await until(`${count} messages come`, () => times.length >= count)
    console.log(`rate ${Math.round((count - 1) * 1000 / (times[count - 1] - times[0]))} messages/s`)
  },
}

// Bodies say when they were published, in nanoseconds. Reports the longest time until a message came.
async function pauses(settings) {
  const seen = new Set()
  let longest = 0
  startReader(settings, (message) => {
    const body = message.body.toString()
    if (!seen.has(body)) {
      seen.add(body)
      longest = Math.max(longest, Date.now() - Number(BigInt(body) / 1000000n))
    }
    message.finish()
  })
  await until('some messages come', () => seen.size >= 20)
  const published = Number(await restart())
  await until(`${published} messages come`, () => seen.size >= published)
  console.log(`longest ${longest} ms`)
}

// Has the test kill nsqd and start it again; what the test says then.
function restart() {
  const answer = event(readline.createInterface({input: process.stdin}), 'line')
  console.log('restart')
  return answer
}

// Takes count messages and never holds more than maxInFlight.
async function consume(count, maxInFlight) {
  await publishAll(bodies(count))
  const seen = new Set()
  let held = 0
  let mostHeld = 0
  startReader({maxInFlight}, async (message) => {
    held += 1
    mostHeld = Math.max(mostHeld, held)
    await sleep(0)
    seen.add(message.body.toString())
    held -= 1
    message.finish()
  })
  await until(`${count} messages come`, () => seen.size === count)
  check(mostHeld <= maxInFlight, `${mostHeld} in flight, not ${maxInFlight}`)
}

// Settings for the layers and the secret that the environment names.
function layers() {
  const settings = {}
  if (process.env.NSQ_SECRET) settings.authSecret = process.env.NSQ_SECRET
  for (const layer of (process.env.NSQ_LAYERS || '').split(' ').filter(Boolean)) settings[layer] = true
  // nsqjs takes no authorities, and asks for a certificate for localhost whatever the address is.
  if (settings.tls) settings.tlsVerification = false
  if (process.env.NSQ_CERT) {
    settings.cert = fs.readFileSync(process.env.NSQ_CERT)
    settings.key = fs.readFileSync(process.env.NSQ_KEY)
  }
  return settings
}

async function connectedWriter(settings = {}) {
  const writer = new nsq.Writer(host, Number(port), {...layers(), ...settings})
  writer.on(nsq.Writer.ERROR, (error) => console.error(error))
  writer.connect()
  await event(writer, nsq.Writer.READY)
  return writer
}

async function publishAll(all) {
  const writer = await connectedWriter()
  await Promise.all(all.map((body) => answer((done) => writer.publish(TOPIC, body, done))))
  writer.close()
}

function startReader(settings, handle) {
  const reader = new nsq.Reader(TOPIC, CHANNEL, {nsqdTCPAddresses: [address], ...layers(), ...settings})
  reader.on(nsq.Reader.MESSAGE, handle)
  // A lost connection reports itself here; scenarios judge by what they receive.
  reader.on(nsq.Reader.ERROR, (error) => console.error(error))
  reader.connect()
  return reader
}

function answer(send) {
  return new Promise((resolve, reject) => send((error) => (error ? reject(error) : resolve())))
}

function event(emitter, kind) {
  return new Promise((resolve) => emitter.once(kind, resolve))
}

async function until(what, condition) {
  const deadline = Date.now() + PATIENCE_MS
  while (!condition()) {
    check(Date.now() < deadline, `waited ${PATIENCE_MS} ms in vain: ${what}`)
    await sleep(5)
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function bodies(count) {
  return Array.from({length: count}, (_, i) => `message ${i}`)
}

function checkAttempts(deliveries, wanted) {
  const attempts = deliveries.map((delivery) => delivery.attempts).join()
  check(attempts === wanted, `attempts ${attempts}, not ${wanted}`)
}

function check(holds, reason) {
  if (!holds) throw new Error(reason)
}

scenarios[name]()
  // What was finished last may still be in a buffer.
  .then(() => sleep(50))
  .then(() => process.exit(0))
  .catch((error) => {
    console.error(error)
    process.exit(1)
  })
