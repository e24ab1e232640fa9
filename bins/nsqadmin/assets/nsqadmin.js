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

function morphAttributes(from, to) {
  for (const { name } of [...from.attributes]) {
    // What the user opened stays open, and what the script hid stays hidden.
    if (!to.hasAttribute(name) && !(name === 'open' || name === 'hidden' || name === 'data-kept')) from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (name === 'open' && from.dataset.kept !== undefined) continue;
    if (from.getAttribute(name) !== value) {
      if (name === 'class' && from.classList.contains('selected')) {
        from.setAttribute('class', `${value} selected`);
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

function say(state, words) {
  if (!live) return;
  live.dataset.state = state;
  const text = live.querySelector('.live-text');
  if (text.textContent !== words) text.textContent = words;
}

function showState() {
  const taken = main()?.dataset.taken ?? '';
  if (failures > 0) say('lost', `Connection lost – as of ${taken}`);
  else if (paused) say('paused', `Paused at ${taken}`);
  else say('live', `Live – ${taken}`);
  live?.setAttribute('aria-pressed', String(paused));
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
      const scrolled = [...document.querySelectorAll('.scroll, .body')].map((box) => [box, box.scrollLeft, box.scrollTop]);
      morph(main(), content);
      for (const [box, left, top] of scrolled) {
        if (box.isConnected) [box.scrollLeft, box.scrollTop] = [left, top];
      }
      failures = 0;
      applyFilters();
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

/** Somebody is marking text in the page: do not take it away. */
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
  history.replaceState(null, '', link.href);
  if (link.closest('.empty, td')) document.querySelectorAll('form[data-filter] input[type="search"]').forEach((field) => { field.value = ''; });
  if (running) await running;
  if (!(await refresh())) location.reload();
  schedule();
});

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
  if (unit === 'per-second') return `${short(value, 1000, ['', 'k', 'M', 'G'])}/s`;
  return Number(value.toFixed(1)).toLocaleString('en-US');
}

function hideReadOut() {
  hovered?.querySelector('.hover-line')?.classList.add('hidden');
  hovered = null;
  readOut.hidden = true;
}

document.addEventListener('pointermove', (event) => {
  const svg = event.target.closest?.('.chart-svg');
  if (!svg) {
    if (hovered) hideReadOut();
    return;
  }
  const box = svg.getBoundingClientRect();
  const across = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  const from = Number(svg.dataset.from);
  const to = Number(svg.dataset.to);
  const at = from + across * (to - from);
  const list = document.createElement('dl');
  let nearest = null;
  for (const path of svg.querySelectorAll('path[data-points]')) {
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
  readOut.replaceChildren(time, list);
  const figure = svg.closest('.chart');
  if (readOut.parentNode !== document.body) document.body.append(readOut);
  readOut.hidden = false;
  const left = event.clientX + scrollX + 14;
  const width = readOut.offsetWidth;
  readOut.style.left = `${Math.min(left, scrollX + root.clientWidth - width - 8)}px`;
  readOut.style.top = `${figure.getBoundingClientRect().top + scrollY + 34}px`;
  if (hovered !== svg) hideLine(hovered);
  hovered = svg;
  const line = svg.querySelector('.hover-line');
  if (line) {
    const x = `${((nearest - from) / (to - from)) * 100}%`;
    line.setAttribute('x1', x);
    line.setAttribute('x2', x);
    line.classList.remove('hidden');
  }
});
const hideLine = (svg) => svg?.querySelector('.hover-line')?.classList.add('hidden');

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
  if (dialog?.open || (keys?.open && event.key !== '?')) return;
  const places = { t: 'topics', n: 'nodes', l: 'lookup', c: 'counter' };
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

// What somebody opens or closes stays so when the page is updated.
document.addEventListener('toggle', (event) => { if (event.target.tagName === 'DETAILS') event.target.dataset.kept = ''; }, true);

showTheme(root.dataset.theme ?? 'auto');
showState();
schedule();
