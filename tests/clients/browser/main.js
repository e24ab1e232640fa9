// nsqadmin's pages in Chromium: main.js <scenarios> <nsqadmin> <nsqadmin without nsqlookupd> <nsqlookupd>
// <nsqd> <nsqd> [<nsqd>], all addresses those of HTTP.
// CHROMIUM names the browser, SCREENSHOTS the folder for pictures. ONLY picks scenarios by name.
// Prints what the test has to do, such as `kill` for the second nsqd, and waits for a line in return.
// Exit status 0 and a line for each scenario, or 1 and the reason.
'use strict'

const fs = require('fs')
const os = require('os')
const path = require('path')
const {chromium} = require('playwright-core')
const {Cluster} = require('./cluster')
const {Visitor} = require('./visitor')

const suites = {
  // In this order: the nodes that are lost are lost for those after them.
  incidents: ['judged', 'hung-node', 'hung-lookupd', 'killed'],
  // In this order: the last one kills an nsqd.
  all: ['watch', 'topics', 'topic', 'channel', 'names', 'registry', 'clients', 'tail', 'plain', 'interaction', 'pictures', 'axe', 'loss'],
  // Of nodes that replicate.
  cluster: ['members'],
}

const FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync']

async function main() {
  const [suite, ...addresses] = process.argv.slice(2)
  const cluster = new Cluster(addresses)
  const folder = process.env.SCREENSHOTS
  fs.mkdirSync(folder, {recursive: true})
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'nsqadmin-browser-'))
  const browser = await chromium.launch({executablePath: found(process.env.CHROMIUM), args: [...FLAGS, `--disk-cache-dir=${profile}`],
    env: {...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile}})
  try {
    for (const name of chosen(suites[suite])) {
      const began = performance.now()
      await play(name, {browser, cluster, folder})
      console.log(`${name}: ${((performance.now() - began) / 1000).toFixed(1)} s`)
    }
  } finally {
    await browser.close()
    fs.rmSync(profile, {recursive: true, force: true})
  }
}

/** Where a program of this name is, by the PATH. */
function found(program) {
  const places = process.env.PATH.split(path.delimiter).map((folder) => path.join(folder, program))
  return places.find((place) => fs.existsSync(place))
}

/** All, or those that somebody who looks for a fault asked for. */
function chosen(names) {
  const only = process.env.ONLY?.split(',')
  return only ? names.filter((name) => only.includes(name)) : names
}

async function play(name, world) {
  const visitors = []
  const visit = async (options) => {
    const visitor = await Visitor.come(world, options)
    visitors.push(visitor)
    return visitor
  }
  try {
    await require(`./scenarios/${name}`)({...world, visit})
    for (const visitor of visitors) await visitor.leave()
  } catch (error) {
    for (const [index, {page, troubles}] of visitors.entries()) {
      const picture = path.join(world.folder, `failed-${name}-${index}.png`)
      await page.screenshot({path: picture, timeout: 5000}).catch(() => {})
      console.error(`${page.url()}, seen in ${picture}\n${troubles.join('\n')}`)
    }
    error.message = `${name}: ${error.message}`
    throw error
  }
}

main().then(() => process.exit(0), (error) => {
  console.error(error.stack)
  process.exit(1)
})
