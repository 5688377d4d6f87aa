// Reads what a page shows as values, and compares them.
import { isDeepStrictEqual } from 'node:util';

export function ok(condition, message) {
  if (!condition) throw new Error(`Not so: ${message}`);
}
export function equal(found, expected, what) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${what}: found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
  }
}
export function near(found, expected, tolerance, what) {
  if (!(Math.abs(found - expected) <= tolerance)) throw new Error(`${what}: found ${found}, expected ${expected} within ${tolerance}`);
}

/** Waits until a condition holds. (Playwright's own waitForFunction evaluates text, which the page's policy forbids.) */
export async function until(what, condition, milliseconds = 20_000) {
  const end = Date.now() + milliseconds;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`After ${milliseconds / 1000} s still not so: ${what}`);
    await new Promise((done) => setTimeout(done, 30));
  }
}

/** The list of scores: sentence, digits, and where its bar lies in its track, in pixels. */
export const shownScores = (page) => page.evaluate(() => [...document.querySelectorAll('#scores li > *')].map((button) => {
  const [bar, track] = ['.bar', '.track'].map((name) => button.querySelector(name));
  const [inner, outer] = [bar.getBoundingClientRect(), track.getBoundingClientRect()];
  return {
    sentence: button.querySelector('.sentence').textContent,
    digits: button.querySelector('.score').textContent.replace('−', '-'),
    left: inner.left - outer.left, width: inner.width, track: outer.width,
    colour: getComputedStyle(bar).backgroundColor,
    zeroLine: getComputedStyle(track, '::after').content !== 'none',
  };
}));

/** The heat map: headers and cells, with the luminance of each cell's colour. */
export const shownGrid = (page) => page.evaluate(measuring, 'grid');

/** The least contrast of any text on the page with what lies behind it. */
export const contrasts = (page) => page.evaluate(measuring, 'contrasts');

/** The role and name that an assistive technology is given for the focused element. */
export async function accessibleFocus(page) {
  const session = await page.context().newCDPSession(page);
  const { result } = await session.send('Runtime.evaluate', { expression: 'document.activeElement' });
  const { nodes } = await session.send('Accessibility.getPartialAXTree', { objectId: result.objectId, fetchRelatives: false });
  await session.detach();
  return { role: nodes[0].role?.value, name: nodes[0].name?.value ?? '' };
}

/** Whether the focus can be seen: a line of at least 2 px, of contrast 3 with its ground, that changes the picture. */
export async function focusLook(page) {
  const look = await page.evaluate(measuring, 'focus');
  const clip = { x: Math.max(0, look.x - 6), y: Math.max(0, look.y - 6), width: look.w + 12, height: look.h + 12 };
  const focused = await page.screenshot({ clip });
  const element = await page.evaluateHandle(() => document.activeElement);
  const hide = 'outline-color: transparent !important';
  // The test hides elements by its own style, so that the page's rules are unchanged.
  await element.evaluate((focus, rule) => [focus, focus.nextElementSibling].forEach((one) => one && rule.split(';').forEach((line) => {
    const [name, value] = line.split(':');
    one.style.setProperty(name.trim(), value.replace('!important', '').trim(), 'important');
  })), hide);
  const hidden = await page.screenshot({ clip });
  await element.evaluate((focus) => [focus, focus.nextElementSibling].forEach((one) => one?.style.removeProperty('outline-color')));
  const changed = !focused.equals(hidden);
  return { ...look, changed, visible: look.width >= 2 && look.contrast >= 3 && changed };
}

/** Runs in the page. Colours are read back from a canvas, which understands every notation that a style may have. */
function measuring(what) {
  const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      known.set(colour, [...context.getImageData(0, 0, 1, 1).data].map((x) => x / 255));
    }
    return known.get(colour);
  };
  const luminance = (colour) => colour.slice(0, 3)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const ground = (element) => {
    if (!element) return [1, 1, 1, 1];
    const own = rgba(getComputedStyle(element).backgroundColor);
    if (own[3] === 1) return own;
    const behind = ground(element.parentElement);
    return [0, 1, 2].map((i) => own[i] * own[3] + behind[i] * (1 - own[3])).concat(1);
  };

  if (what === 'grid') {
    const [head, ...rows] = document.getElementById('grid').rows;
    const header = (cell) => ({ text: cell.textContent, scope: cell.scope });
    const zero = rgba(getComputedStyle(document.documentElement).getPropertyValue('--heat-zero'));
    const number = (text) => Number(text.replace('−', '-'));
    return {
      columns: [...head.cells].slice(1).map(header),
      rows: rows.map((row) => header(row.cells[0])),
      cells: rows.map((row) => [...row.cells].slice(1).map((cell) => {
        const style = getComputedStyle(cell);
        const strength = parseFloat(cell.style.getPropertyValue('--strength')) / 100;
        const end = rgba(style.getPropertyValue('--end'));
        // A cell is dimmed if its colour is closer to the zero colour than its value requires.
        const shade = rgba(`color-mix(in oklab, rgb(${end.slice(0, 3).map((x) => x * 255).join(' ')}) ${strength * 100}%, rgb(${zero.slice(0, 3).map((x) => x * 255).join(' ')}))`);
        const own = rgba(style.backgroundColor);
        return {
          value: number(cell.textContent), precise: number(cell.getAttribute('aria-label').split(': ').at(-1)), strength,
          special: cell.classList.contains('special'),
          orange: style.getPropertyValue('--end').trim() === style.getPropertyValue('--heat-minus').trim(), luminance: luminance(own),
          dimmed: own.some((x, i) => Math.abs(x - shade[i]) > 0.02),
        };
      })),
    };
  }
  if (what === 'focus') {
    const focus = document.activeElement;
    // The text beside a radio button draws the button.
    const drawn = focus.type === 'radio' ? focus.nextElementSibling : focus;
    const style = getComputedStyle(drawn);
    const box = drawn.getBoundingClientRect();
    const inside = parseFloat(style.outlineOffset) < 0;
    const name = focus.id ? `#${focus.id}` : focus.name ? `[name=${focus.name}]` : focus.closest('#scores') ? '#scores button'
      : focus.tagName.toLowerCase() + (focus.classList.length && focus.tagName !== 'TD' ? `.${focus.classList[0]}` : '');
    return {
      name, x: box.x, y: box.y, w: box.width, h: box.height,
      width: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth),
      contrast: contrast(rgba(style.outlineColor), ground(inside ? drawn : drawn.parentElement)),
    };
  }
  const texts = [...document.body.querySelectorAll('*')].filter((element) => {
    const words = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    return words && !element.closest('noscript, .unseen') && element.checkVisibility({ visibilityProperty: true });
  }).map((element) => {
    const style = getComputedStyle(element);
    return { text: element.textContent.trim().slice(0, 40), ratio: contrast(rgba(style.color), ground(element)) };
  });
  return { count: texts.length, worst: texts.reduce((least, one) => (one.ratio < least.ratio ? one : least), { ratio: 99 }) };
}
