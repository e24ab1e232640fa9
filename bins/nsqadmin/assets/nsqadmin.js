// What makes nsqadmin's pages live. Everything works without it: links, forms and the server's own search and sort.
// One module, no dependencies, no build step.

const root = document.documentElement;
root.classList.add('js');

const main = () => document.querySelector('main');
const byId = (id) => document.getElementById(id);
const PART = 'nsqadmin-part';

/* ---- morphing: change what differs, keep everything else ---- */

const keyOf = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || null : null);
const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

const KEPT = ['open', 'hidden', 'data-kept', 'data-label'];
// Classes that the script sets: the selected row, a hidden series, a table that is shown as cards.
const OWN_CLASSES = ['selected', 'cards', 'off', 'hidden'];
const ownClasses = (node) => OWN_CLASSES.filter((each) => node.classList.contains(each));

function morphAttributes(from, to) {
  for (const { name } of [...from.attributes]) {
    // What the user opened stays open, and what the script hid stays hidden.
    if (to.hasAttribute(name) || KEPT.includes(name)) continue;
    if (name === 'class' && ownClasses(from).length > 0) from.setAttribute('class', ownClasses(from).join(' '));
    else from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (name === 'open' && from.dataset.kept !== undefined) continue;
    if (from.getAttribute(name) !== value) {
      const own = name === 'class' ? ownClasses(from) : [];
      if (own.length > 0) {
        from.setAttribute('class', [...new Set([...value.split(' '), ...own])].join(' '));
      } else {
        from.setAttribute(name, value);
      }
    }
  }
}

function morphChildren(from, to) {
  const keyed = new Map();
  for (const child of from.childNodes) {
    const key = keyOf(child);
    if (key) keyed.set(key, child);
  }
  let current = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const key = keyOf(wanted);
    let match = null;
    if (key) {
      const same = keyed.get(key);
      if (same && same.nodeName === wanted.nodeName) match = same;
    } else if (current && !keyOf(current) && alike(current, wanted)) {
      match = current;
    }
    if (match) {
      if (match === current) {
        current = current.nextSibling;
      } else {
        from.insertBefore(match, current);
      }
      morph(match, wanted);
    } else {
      from.insertBefore(document.importNode(wanted, true), current);
    }
  }
  while (current) {
    const next = current.nextSibling;
    current.remove();
    current = next;
  }
}

function morph(from, to) {
  if (from.nodeType !== 1) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  // Half-typed forms and open answers are the user's, not ours.
  if (from.hasAttribute('data-still') && (from.contains(document.activeElement) || isDirty(from))) return;
  if (from.hasAttribute('data-stands') && to.hasAttribute('data-stands')) return;
  if (from.matches('input, textarea, select')) return;
  if (from.isEqualNode(to)) return;
  morphAttributes(from, to);
  morphChildren(from, to);
}

const isDirty = (element) =>
  [...element.querySelectorAll('input, textarea')].some((field) => field.type !== 'hidden' && field.value !== field.defaultValue);

/* ---- live update ---- */

const live = byId('live');
const period = Number(document.body.dataset.refresh || 5) * 1000;
let timer = 0;
let paused = sessionStorage.getItem('nsqadmin-paused') === 'yes';
let failures = 0;
let running = null;
let soft = false;

function say(state, words) {
  if (!live) return;
  live.dataset.state = state;
  const text = live.querySelector('.live-text');
  if (text.textContent !== words) text.textContent = words;
}

function showState() {
  const taken = main()?.dataset.taken ?? '';
  const currency = main()?.dataset.currency;
  if (failures > 0) say('lost', `Connection lost – as of ${taken}`);
  else if (paused) say('paused', `Paused at ${taken}`);
  else if (currency === 'last-known') say('last-known', `Last known state, ${taken}`);
  else if (currency === 'partial') say('partial', `Incomplete – ${taken}`);
  else say('live', `Live – ${taken}`);
  live?.setAttribute('aria-pressed', String(paused));
  showCount(Number(main()?.dataset.critical ?? 0));
}

/* ---- the number of critical channels in the tab's icon; the title has it from the server ---- */

const icon = document.querySelector('link[rel="icon"]');
const plainIcon = icon?.getAttribute('href');
let iconCount = 0;

function showCount(count) {
  if (!icon || count === iconCount) return;
  iconCount = count;
  if (count === 0) {
    icon.setAttribute('href', plainIcon);
    return;
  }
  const text = count > 9 ? '9+' : String(count);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#b3261e"/>`
    + `<text x="16" y="23" font-family="sans-serif" font-size="${count > 9 ? 17 : 21}" font-weight="700" fill="#fff" text-anchor="middle">${text}</text></svg>`;
  icon.setAttribute('href', `data:image/svg+xml,${encodeURIComponent(svg)}`);
}

async function load(url) {
  const answer = await fetch(url, { headers: { [PART]: 'main' }, cache: 'no-store', credentials: 'same-origin', signal: AbortSignal.timeout(15000) });
  const type = answer.headers.get('content-type') ?? '';
  if (!type.startsWith('text/html')) throw new Error(`${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const content = page.querySelector('main');
  if (!content) throw new Error('no content');
  return { answer, page, content };
}

/** Fetches this page once more and shows what has changed. Answers whether that worked. */
async function refresh() {
  if (running) return running;
  running = (async () => {
    try {
      const url = location.href.split('#')[0];
      const { answer, page, content } = await load(url);
      if (answer.redirected && new URL(answer.url).pathname !== location.pathname) {
        location.reload(); // The login has run out.
        return true;
      }
      if (url !== location.href.split('#')[0]) return true; // The user is elsewhere by now.
      if (page.title) document.title = page.title;
      keepOrder(content);
      const focused = focusedRow();
      const scrolled = [...document.querySelectorAll('.scroll, .body')].map((box) => [box, box.scrollLeft, box.scrollTop]);
      morph(main(), content);
      for (const [box, left, top] of scrolled) {
        if (box.isConnected) [box.scrollLeft, box.scrollTop] = [left, top];
      }
      failures = 0;
      applyFilters();
      restoreFocus(focused);
      if (hovered && !hovered.isConnected) hideReadOut();
      else if (pointed) readAt(pointed);
      document.dispatchEvent(new CustomEvent('nsqadmin:updated'));
      return true;
    } catch {
      failures += 1;
      return false;
    } finally {
      running = null;
      showState();
    }
  })();
  return running;
}

/** Rows stay under the pointer: while it is over a table, rows keep their order and new ones come last. */
function keepOrder(content) {
  for (const body of document.querySelectorAll('main table[id] tbody:hover')) {
    const wanted = content.querySelector(`table#${CSS.escape(body.parentNode.id)} tbody`);
    if (!wanted || soft) continue;
    const places = new Map([...body.rows].map((row, index) => [row.dataset.key, index]));
    const place = (row) => places.get(row.dataset.key) ?? places.size;
    wanted.append(...[...wanted.rows].sort((a, b) => place(a) - place(b)));
  }
}

/** The row whose link has the focus: an update may move it. */
function focusedRow() {
  const row = document.activeElement?.closest?.('main tr[data-key]');
  return row ? { table: row.closest('table').id, key: row.dataset.key } : null;
}

function restoreFocus(focused) {
  if (!focused || document.activeElement !== document.body) return;
  const row = [...(byId(focused.table)?.querySelectorAll('tr[data-key]') ?? [])].find((each) => each.dataset.key === focused.key);
  row?.querySelector('th a, td a')?.focus({ preventScroll: true });
}

function schedule() {
  clearTimeout(timer);
  if (paused || document.hidden || !main()?.hasAttribute('data-live')) return;
  // While it fails, ask less often, up to every half minute.
  const wait = Math.min(period * 2 ** Math.min(failures, 3), 30000);
  timer = setTimeout(async () => {
    if (!hasSelection()) await refresh();
    schedule();
  }, wait);
}

/** The user is selecting text in the page: an update would remove the selection. */
function hasSelection() {
  const selection = getSelection();
  return selection && !selection.isCollapsed && main().contains(selection.anchorNode);
}

function setPaused(value) {
  paused = value;
  sessionStorage.setItem('nsqadmin-paused', paused ? 'yes' : 'no');
  if (!paused) refresh();
  showState();
  schedule();
}

live?.addEventListener('click', () => setPaused(!paused));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !paused && main()?.hasAttribute('data-live')) refresh();
  schedule();
});

/* ---- search: at once in the rows that are there, then by the server in all ---- */

function applyFilter(form) {
  const field = form.querySelector('input[type="search"]');
  const table = byId(form.dataset.filter);
  if (!field || !table?.tBodies) return;
  const words = field.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of table.tBodies[0].rows) {
    const text = row.dataset.search;
    if (text !== undefined) row.hidden = !words.every((word) => text.includes(word));
  }
}

function applyFilters() {
  document.querySelectorAll('form[data-filter]').forEach(applyFilter);
}

let typing = 0;
document.addEventListener('input', (event) => {
  const form = event.target.closest?.('form[data-filter]');
  if (form && event.target.type === 'search') {
    applyFilter(form);
    clearTimeout(typing);
    typing = setTimeout(() => search(form), 250);
  }
});

function search(form) {
  const url = new URL(location.href);
  const field = form.querySelector('input[type="search"]');
  if (field.value.trim()) url.searchParams.set(field.name, field.value.trim());
  else url.searchParams.delete(field.name);
  url.searchParams.delete(field.name.replace(/q$/, 'page'));
  history.replaceState(null, '', url);
  refresh();
}

document.addEventListener('submit', (event) => {
  const form = event.target.closest('form[data-filter]');
  if (form) {
    event.preventDefault();
    search(form);
  }
});

/* ---- links that only change how this page is shown: sort, page, time span ---- */

document.addEventListener('click', async (event) => {
  const link = event.target.closest('a[data-soft]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  soft = true; // The order is what was asked for.
  history.replaceState(null, '', link.href);
  if (link.closest('.empty, td')) document.querySelectorAll('form[data-filter] input[type="search"]').forEach((field) => { field.value = ''; });
  if (running) await running;
  if (!(await refresh())) location.reload();
  soft = false;
  schedule();
});

// The time span of the charts is kept from page to page.
document.addEventListener('click', (event) => {
  const span = event.target.closest('a[data-span]')?.dataset.span;
  if (span) document.cookie = `nsqadmin_span=${span}; path=${document.body.dataset.root}; max-age=31536000; samesite=lax`;
}, true);

/* ---- dialogs: the confirmation page, without leaving this one ---- */

const dialog = byId('dialog');
let opener = null;

document.addEventListener('click', async (event) => {
  const link = event.target.closest('a[data-dialog]');
  if (!link || !dialog?.showModal || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    const { content } = await load(link.href);
    const confirm = content.querySelector('[data-confirm]');
    if (!confirm) throw new Error('nothing to confirm');
    opener = link;
    dialog.replaceChildren(document.importNode(confirm, true));
    dialog.setAttribute('aria-labelledby', 'confirm-title');
    watchTyped(dialog);
    dialog.showModal();
    (dialog.querySelector('[autofocus]') ?? dialog.querySelector('[data-cancel]'))?.focus();
  } catch {
    location.assign(link.href);
  }
});

dialog?.addEventListener('click', (event) => {
  if (event.target.closest('[data-cancel]')) {
    event.preventDefault();
    dialog.close();
  }
});
dialog?.addEventListener('close', () => {
  dialog.replaceChildren();
  opener?.focus();
});

/** The button that destroys waits for the name. */
function watchTyped(scope) {
  const field = scope.querySelector('input[data-typed]');
  const button = scope.querySelector('button[data-go]');
  if (!field || !button) return;
  const check = () => { button.disabled = field.value !== field.dataset.typed; };
  field.addEventListener('input', check);
  check();
}
watchTyped(document.body);

// One click, one action.
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (form.method !== 'post' || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = 'yes';
  form.querySelectorAll('button').forEach((button) => button.setAttribute('aria-disabled', 'true'));
});

/* ---- notices ---- */

const address = new URL(location.href);
if (address.searchParams.has('notice')) {
  address.searchParams.delete('notice');
  history.replaceState(null, '', address);
}
document.addEventListener('click', (event) => event.target.closest('[data-close]')?.closest('.notice')?.remove());
setTimeout(() => document.querySelectorAll('#notices .notice.good').forEach((notice) => notice.remove()), 15000);

/* ---- charts: what was it then ---- */

const readOut = document.createElement('div');
readOut.className = 'read-out';
readOut.hidden = true;
readOut.setAttribute('aria-hidden', 'true');
let hovered = null;

function short(value, base, units) {
  let index = 0;
  while (Math.abs(value) >= base - 0.5 && index + 1 < units.length) {
    value /= base;
    index += 1;
  }
  const places = Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2;
  return String(Number(value.toFixed(places))) + units[index];
}

function withUnit(value, unit) {
  if (unit === 'bytes') return short(value, 1024, [' B', ' KiB', ' MiB', ' GiB', ' TiB']);
  if (unit === 'nanos') return short(value, 1000, [' ns', ' µs', ' ms', ' s']);
  if (unit === 'seconds') {
    const [divisor, word] = value < 60 ? [1, 's'] : value < 3600 ? [60, 'min'] : value < 172800 ? [3600, 'h'] : [86400, 'd'];
    return `${Number((value / divisor).toFixed(1))} ${word}`;
  }
  if (unit === 'per-second') return `${short(value, 1000, ['', 'k', 'M', 'G'])}/s`;
  return Number(value.toFixed(1)).toLocaleString('en-US');
}

function hideReadOut() {
  hovered?.querySelector('.hover-line')?.classList.add('hidden');
  hovered = null;
  readOut.hidden = true;
}

/** Where the reading is: a chart and how far across it. */
let pointed = null;

document.addEventListener('pointermove', (event) => {
  const svg = event.target.closest?.('.chart-svg');
  if (!svg) {
    if (pointed && event.pointerType === 'mouse' && !dragged) stopReading();
    return;
  }
  pointed = { svg, across: acrossOf(svg, event.clientX) };
  readAt(pointed);
});

const acrossOf = (svg, x) => {
  const box = svg.getBoundingClientRect();
  return Math.min(Math.max((x - box.left) / box.width, 0), 1);
};

function stopReading() {
  pointed = null;
  hideReadOut();
}

/** Every chart of the page shows the same moment; the one that is pointed at says what was then. */
function readAt({ svg, across }) {
  const from = Number(svg.dataset.from);
  const to = Number(svg.dataset.to);
  const at = from + across * (to - from);
  const list = document.createElement('dl');
  let nearest = null;
  for (const path of svg.querySelectorAll('path[data-points]')) {
    if (path.classList.contains('hidden')) continue;
    let best = null;
    for (const point of path.dataset.points.split(' ')) {
      const [when, value] = point.split(':');
      const distance = Math.abs(Number(when) - at);
      if (best === null || distance < best.distance) best = { distance, when: Number(when), value };
    }
    if (!best) continue;
    nearest ??= best.when;
    const name = document.createElement('dt');
    name.textContent = path.dataset.label;
    const value = document.createElement('dd');
    value.textContent = best.value === '' ? 'not measured' : withUnit(Number(best.value), svg.dataset.unit);
    list.append(name, value);
  }
  if (nearest === null) return;
  const time = document.createElement('div');
  time.className = 'muted';
  // In the time zone of the axis, which is nsqadmin's and may not be the browser's.
  time.textContent = new Date((nearest + Number(svg.dataset.offset)) * 1000).toISOString().slice(0, 19).replace('T', ' ');
  const happened = [...svg.querySelectorAll('.moment')].filter((moment) => Math.abs(Number(moment.dataset.at) - at) < (to - from) / 60);
  const lines = happened.slice(0, 4).map((moment) => {
    const line = document.createElement('div');
    line.className = 'read-event';
    line.textContent = moment.dataset.text;
    return line;
  });
  readOut.replaceChildren(time, list, ...lines);
  const figure = svg.closest('.chart');
  if (readOut.parentNode !== document.body) document.body.append(readOut);
  readOut.hidden = false;
  const box = svg.getBoundingClientRect();
  const left = box.left + across * box.width + scrollX + 14;
  readOut.style.left = `${Math.max(Math.min(left, scrollX + root.clientWidth - readOut.offsetWidth - 8), 4)}px`;
  readOut.style.top = `${figure.getBoundingClientRect().top + scrollY + 34}px`;
  hovered = svg;
  for (const other of document.querySelectorAll('.chart-svg')) {
    const line = other.querySelector('.hover-line');
    if (!line) continue;
    const [first, last] = [Number(other.dataset.from), Number(other.dataset.to)];
    const x = `${((nearest - first) / (last - first)) * 100}%`;
    line.setAttribute('x1', x);
    line.setAttribute('x2', x);
    line.classList.toggle('hidden', nearest < first || nearest > last);
  }
}

// By keys: a chart takes the focus, the arrows move through it.
document.addEventListener('keydown', (event) => {
  const svg = event.target.closest?.('.chart-svg');
  const step = { ArrowLeft: -0.01, ArrowRight: 0.01, Home: -1, End: 1 }[event.key];
  if (!svg || step === undefined) return;
  event.preventDefault();
  const across = pointed?.svg === svg ? pointed.across : 1;
  pointed = { svg, across: Math.min(Math.max(across + step, 0), 1) };
  readAt(pointed);
});
document.addEventListener('focusout', (event) => { if (event.target.closest?.('.chart-svg')) stopReading(); });

// Dragging across a chart zooms into that part of the history; the address has it.
let dragged = null;
document.addEventListener('pointerdown', (event) => {
  const svg = event.target.closest?.('.chart-svg');
  if (!svg || event.button !== 0 || event.target.closest('a')) return;
  dragged = { svg, start: acrossOf(svg, event.clientX), mark: null };
});
document.addEventListener('pointermove', (event) => {
  if (!dragged) return;
  const now = acrossOf(dragged.svg, event.clientX);
  if (!dragged.mark && Math.abs(now - dragged.start) < 0.01) return;
  if (!dragged.mark) {
    dragged.mark = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    dragged.mark.setAttribute('class', 'zoom');
    dragged.mark.setAttribute('y', '0');
    dragged.mark.setAttribute('height', '140');
    dragged.svg.append(dragged.mark);
  }
  dragged.mark.setAttribute('x', `${Math.min(dragged.start, now) * 100}%`);
  dragged.mark.setAttribute('width', `${Math.abs(now - dragged.start) * 100}%`);
});
document.addEventListener('pointerup', (event) => {
  if (!dragged) return;
  const { svg, start, mark } = dragged;
  dragged = null;
  if (!mark) return;
  mark.remove();
  const [from, to] = [Number(svg.dataset.from), Number(svg.dataset.to)];
  const ends = [start, acrossOf(svg, event.clientX)].sort((a, b) => a - b).map((part) => Math.round(from + part * (to - from)));
  if (ends[1] - ends[0] < 30) return;
  const url = new URL(location.href);
  url.searchParams.set('from', ends[0]);
  url.searchParams.set('until', ends[1]);
  history.pushState(null, '', url);
  refresh();
});
addEventListener('popstate', () => refresh());

// A series is hidden and shown by its name in the legend; which ones are hidden holds for the page.
const hiddenSeries = new Set();
document.addEventListener('click', (event) => {
  const name = event.target.closest?.('.legend li');
  const figure = name?.closest('.chart');
  if (!figure) return;
  const key = `${figure.dataset.chart} ${name.dataset.series}`;
  if (!hiddenSeries.delete(key)) hiddenSeries.add(key);
  showSeries();
});
function showSeries() {
  for (const figure of document.querySelectorAll('.chart')) {
    for (const part of figure.querySelectorAll('[data-series]')) {
      const isHidden = hiddenSeries.has(`${figure.dataset.chart} ${part.dataset.series}`);
      part.classList.toggle(part.nodeName === 'path' ? 'hidden' : 'off', isHidden);
    }
  }
}
document.addEventListener('nsqadmin:updated', showSeries);

/* ---- live tail: new messages appear at the top of the viewer ---- */

const TAIL_MS = 2000;
// As many as the server shows at most. With fewer, a message that is not among them is gone.
const MOST_FETCHED = 200;
// So many keys are remembered, so that a message that has left the list does not come back.
const MOST_KEYS = 10000;
let tail = null;

document.addEventListener('click', (event) => {
  if (!event.target.closest?.('[data-tail]')) return;
  if (tail) stopTail();
  else startTail();
});

function startTail() {
  const list = byId('message-list');
  if (!list) return;
  if (list.dataset.order !== 'newest') list.append(...[...list.children].reverse());
  list.dataset.order = 'newest';
  tail = { timer: 0, seen: new Set([...list.children].map((row) => row.dataset.key)) };
  document.querySelector('[data-tail]')?.setAttribute('aria-pressed', 'true');
  followTail();
}

function stopTail() {
  clearTimeout(tail?.timer);
  tail = null;
  document.querySelector('[data-tail]')?.setAttribute('aria-pressed', 'false');
  sayTail('');
}

function sayTail(words) {
  const line = byId('tail-state');
  if (!line) return;
  line.hidden = words === '';
  if (line.textContent !== words) line.textContent = words;
}

async function followTail() {
  const now = tail;
  clearTimeout(now.timer);
  if (document.hidden) {
    sayTail('Live: paused while the page is hidden.');
    return;
  }
  const url = new URL(location.href);
  url.hash = '';
  url.searchParams.set('look', '1');
  url.searchParams.set('look-order', 'newest');
  url.searchParams.set('look-count', MOST_FETCHED);
  try {
    const { content } = await load(url);
    if (tail !== now) return;
    const list = byId('message-list');
    const fetched = content.querySelector('#message-list');
    if (!list || !fetched) {
      stopTail();
      return;
    }
    addMessages(list, fetched);
    sayTail('Live: new messages appear at the top.');
  } catch {
    if (tail !== now) return;
    sayTail('Live: nsqadmin is not responding.');
  }
  now.timer = setTimeout(followTail, TAIL_MS);
}

function addMessages(list, fetched) {
  const there = new Map([...fetched.children].map((row) => [row.dataset.key, row]));
  const selection = getSelection();
  const isRead = (row) => (!selection.isCollapsed && row.contains(selection.anchorNode)) || row.contains(document.activeElement);
  for (const row of list.children) {
    const same = there.get(row.dataset.key);
    if (isRead(row)) continue;
    if (same) morph(row.querySelector('summary'), same.querySelector('summary'));
    else if (there.size < MOST_FETCHED) row.querySelector('.message-state').textContent = 'no longer there';
  }
  const most = Number(list.dataset.most);
  for (const [key, row] of [...there].slice(0, most).reverse()) {
    if (tail.seen.has(key)) continue;
    tail.seen.add(key);
    list.prepend(document.importNode(row, true));
  }
  list.parentNode.querySelector(':scope > .empty')?.remove();
  // What is read or open stays as long as others can go.
  const rows = [...list.children].reverse();
  for (const row of [...rows.filter((each) => !each.open), ...rows.filter((each) => each.open)]) {
    if (list.children.length <= most) break;
    if (!isRead(row)) row.remove();
  }
  if (tail.seen.size > MOST_KEYS) tail.seen = new Set([...list.children, ...fetched.children].map((row) => row.dataset.key));
}

document.addEventListener('visibilitychange', () => { if (tail) followTail(); });

/* ---- on a phone a table is a list of cards: each value with its column's name ---- */

const narrow = matchMedia('(max-width: 640px)');
function nameCells() {
  if (!narrow.matches) return;
  for (const table of document.querySelectorAll('main .scroll table')) {
    const names = [...(table.tHead?.rows[0]?.cells ?? [])].map((cell) => cell.textContent.replace(/[▲▼]/g, '').trim());
    for (const row of [...(table.tBodies[0]?.rows ?? []), ...(table.tFoot?.rows ?? [])]) {
      [...row.cells].forEach((cell, index) => { if (cell.dataset.label !== names[index]) cell.dataset.label = names[index] ?? ''; });
    }
    table.classList.add('cards');
  }
}
document.addEventListener('nsqadmin:updated', nameCells);
narrow.addEventListener('change', nameCells);
nameCells();

/* ---- copy ---- */

async function copy(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'visually-hidden';
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error('refused');
  return undefined;
}

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  try {
    await copy(button.dataset.copy);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Not allowed';
  }
  button.focus();
  setTimeout(() => { button.textContent = before; }, 1500);
});

/* ---- light, dark, or as the system has it ---- */

const themeButton = byId('theme');
const themes = ['auto', 'light', 'dark'];

function showTheme(theme) {
  if (theme === 'auto') delete root.dataset.theme;
  else root.dataset.theme = theme;
  if (themeButton) {
    themeButton.querySelector('.theme-text').textContent = { auto: 'Auto', light: 'Light', dark: 'Dark' }[theme];
    themeButton.setAttribute('aria-label', `Colours: ${theme}. Change`);
  }
}

themeButton?.addEventListener('click', () => {
  const now = root.dataset.theme ?? 'auto';
  const next = themes[(themes.indexOf(now) + 1) % themes.length];
  document.cookie = `nsqadmin_theme=${next}; path=${document.body.dataset.root}; max-age=31536000; samesite=lax`;
  showTheme(next);
});

/* ---- jump to anything: Ctrl-K ---- */

const jump = byId('jump');
const jumpField = byId('jump-field');
const jumpFound = byId('jump-found');
let jumpTyping = 0;
let jumpShown = null;

function openJump() {
  if (!jump?.showModal || jump.open) return;
  jump.showModal();
  jumpField.value = '';
  jumpField.focus();
  findPlaces();
}

async function findPlaces() {
  const wanted = jumpField.value;
  try {
    const { content } = await load(`${jump.dataset.link}?q=${encodeURIComponent(wanted)}`);
    if (wanted !== jumpField.value) return; // More was typed.
    jumpFound.replaceChildren(document.importNode(content.querySelector('[data-jump]'), true));
    jumpShown = wanted;
    markPlace(0);
  } catch {
    jumpFound.textContent = 'nsqadmin is not responding.';
  }
}

const placesFound = () => [...jumpFound.querySelectorAll('li a')];

function markPlace(index) {
  const links = placesFound();
  if (links.length === 0) return;
  const at = (index + links.length) % links.length;
  links.forEach((link, other) => link.classList.toggle('marked', other === at));
  links[at].scrollIntoView({ block: 'nearest' });
}

jumpField?.addEventListener('input', () => {
  clearTimeout(jumpTyping);
  jumpTyping = setTimeout(findPlaces, 120);
});
jumpField?.addEventListener('keydown', async (event) => {
  const links = placesFound();
  const now = links.findIndex((link) => link.classList.contains('marked'));
  if (event.key === 'ArrowDown') markPlace(now + 1);
  else if (event.key === 'ArrowUp') markPlace(now - 1);
  else if (event.key !== 'Enter') return;
  event.preventDefault();
  if (event.key !== 'Enter') return;
  // Fast typing: what was typed counts, not what is listed so far.
  if (jumpShown !== jumpField.value) await findPlaces();
  (placesFound().find((link) => link.classList.contains('marked')) ?? placesFound()[0])?.click();
});
byId('jump-button')?.addEventListener('click', (event) => {
  if (!jump?.showModal || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  openJump();
});
document.addEventListener('keydown', (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
    event.preventDefault();
    openJump();
  }
});

/* ---- keys ---- */

const keys = byId('keys');
let selected = null;

function select(step) {
  const rows = [...document.querySelectorAll('main table tbody tr[data-key]')].filter((row) => !row.hidden && row.offsetParent);
  if (rows.length === 0) return;
  const index = rows.findIndex((row) => row.classList.contains('selected'));
  rows[index]?.classList.remove('selected');
  const next = index < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(index + step, 0), rows.length - 1);
  selected = rows[next];
  selected.classList.add('selected');
  selected.scrollIntoView({ block: 'nearest' });
  selected.querySelector('th a, td a')?.focus({ preventScroll: true });
}

let prefix = '';
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const field = event.target.matches?.('input, textarea, select, [contenteditable]');
  if (field) {
    if (event.key === 'Escape' && event.target.type === 'search') event.target.blur();
    return;
  }
  if (dialog?.open || jump?.open || (keys?.open && event.key !== '?')) return;
  const places = { t: 'topics', n: 'nodes', u: 'consumers', l: 'lookup', c: 'counter' };
  if (prefix === 'g' && places[event.key]) {
    document.querySelector(`.bar nav a[data-go-to="${places[event.key]}"]`)?.click();
    prefix = '';
    return;
  }
  prefix = '';
  switch (event.key) {
    case '/': {
      const search = document.querySelector('main input[type="search"]');
      if (!search) return;
      search.focus();
      search.select();
      break;
    }
    case 'j': select(1); break;
    case 'k': select(-1); break;
    case 'g': prefix = 'g'; break;
    case 'p': setPaused(!paused); break;
    case 'r': refresh(); break;
    case '?': if (keys?.open) keys.close(); else keys?.showModal(); break;
    default: return;
  }
  event.preventDefault();
});
byId('keys-button')?.addEventListener('click', () => keys?.showModal());
keys?.addEventListener('click', (event) => { if (event.target.closest('[data-cancel]')) keys.close(); });

// What the user opens or closes stays so when the page is updated.
document.addEventListener('toggle', (event) => { if (event.target.tagName === 'DETAILS') event.target.dataset.kept = ''; }, true);

showTheme(root.dataset.theme ?? 'auto');
showState();
schedule();
