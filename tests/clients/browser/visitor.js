// Somebody at a browser. Whatever goes wrong behind the page's back is written down: console errors, exceptions,
// violations of the pages' policy, requests to any other host. There must be none when the visitor leaves.
'use strict'

const assert = require('assert')
const {until} = require('./cluster')

const DESKTOP = {width: 1280, height: 900}
const PHONE = {width: 390, height: 844}
const PATIENCE_MS = 20_000

class Visitor {
  static async come({browser, cluster}, options = {}) {
    const home = options.baseURL ?? cluster.admin
    const context = await browser.newContext({viewport: DESKTOP, baseURL: home, ...options})
    context.setDefaultTimeout(PATIENCE_MS)
    const visitor = new Visitor()
    visitor.context = context
    visitor.troubles = []
    visitor.allowed = []
    const note = (trouble) => visitor.troubles.push(trouble)
    context.on('console', (message) => ['error', 'warning'].includes(message.type()) && note(`console: ${message.text()}`))
    context.on('weberror', (error) => note(`exception: ${error.error().stack}`))
    context.on('request', (request) => {
      if (new URL(request.url()).origin !== home) note(`foreign host: ${request.url()}`)
    })
    await context.addInitScript(() => document.addEventListener('securitypolicyviolation', (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)))
    visitor.page = await context.newPage()
    return visitor
  }

  /** Trouble of this kind is part of the scenario. */
  allow(pattern) {
    this.allowed.push(pattern)
  }

  async leave() {
    await this.context.close()
    const unexpected = this.troubles.filter((trouble) => !this.allowed.some((pattern) => pattern.test(trouble)))
    assert.deepStrictEqual(unexpected, [])
  }

  /** Opens a page, which must answer with `status` and have a heading. */
  async open(path, status = 200) {
    const answer = await this.page.goto(path)
    assert.strictEqual(answer.status(), status, path)
    assert.notStrictEqual((await this.page.locator('main').locator('h1, #confirm-title').first().textContent()).trim(), '', path)
  }

  /** Does what leads to a new page, and waits for that. */
  async going(act) {
    await Promise.all([this.page.waitForEvent('load'), act()])
  }

  /** Clicks a button that asks first; the question. */
  async asked(button, within = this.page) {
    await within.locator(`[data-test="${button}"]`).first().click()
    const question = this.page.locator('#dialog[open] [data-confirm]')
    await question.waitFor()
    return question
  }

  /** Says yes, after typing what has to be typed; the notice that follows must be good. */
  async agree(question, typed) {
    const button = question.locator('[data-go]')
    if (typed !== undefined) {
      assert.ok(await button.isDisabled(), 'nothing is typed yet')
      await question.locator('#typed').fill(`${typed}x`)
      assert.ok(await button.isDisabled(), 'something else is typed')
      await question.locator('#typed').fill(typed)
    }
    await this.going(() => button.click())
    await this.isDone()
  }

  async isDone() {
    const notice = this.page.locator('#notices [data-test="notice"]')
    assert.strictEqual(await notice.getAttribute('data-tone'), 'good', await notice.innerText())
  }

  /** Says no; the question must be gone. */
  async cancel(question) {
    await question.locator('[data-cancel]').click()
    await this.page.locator('#dialog').waitFor({state: 'hidden'})
  }

  /** Cancels first, which `unchanged` must bear out, and then agrees. What is lost is told in both. */
  async destroy(button, {messages, typed, unchanged}) {
    for (const go of [false, true]) {
      const question = await this.asked(button)
      const losses = question.locator('[data-test="losses"]')
      assert.strictEqual(await losses.getAttribute('data-messages'), String(messages))
      const words = messages === 0 ? 'No messages would be lost' : `${messages} message${messages === 1 ? '' : 's'} will be lost`
      assert.ok((await losses.innerText()).includes(words), await losses.innerText())
      if (go) {
        await this.agree(question, typed)
      } else {
        await this.cancel(question)
        await unchanged()
      }
    }
  }

  /** One of the numbers in the strip. */
  async stat(id) {
    const text = await this.page.locator(`[data-stat="${id}"] dd`).evaluate((value) => value.firstChild.textContent)
    return Number(text.replace(/[^0-9.]/g, ''))
  }

  /** The text of a table's cell. */
  async cell(table, row, column) {
    return this.page.locator(`#${table}`).evaluate((element, [row, column]) => {
      const index = [...element.tHead.rows[0].cells].findIndex((cell) => cell.dataset.column === column)
      const found = [...element.tBodies[0].rows].find((candidate) => candidate.dataset.key === row)
      return found?.cells[index].innerText.trim()
    }, [row, column])
  }

  /** The keys of a table's visible rows, in their order. */
  async rows(table) {
    return this.page.locator(`#${table} tbody tr[data-key]`).evaluateAll((rows) =>
      rows.filter((row) => !row.hidden).map((row) => row.dataset.key))
  }

  /** Until a number in the strip is as wanted, without anybody loading the page again. */
  async comesTo(id, wanted) {
    await this.page.evaluate(() => { window.isSameDocument = true })
    await until(`${id} comes to ${wanted}`, async () => (await this.stat(id)) === wanted)
    assert.ok(await this.page.evaluate(() => window.isSameDocument), 'the page was loaded again')
  }
}

module.exports = {Visitor, DESKTOP, PHONE}
