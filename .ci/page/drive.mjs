// Drives the page and the documentation of a running `likewise serve` in headless Chromium, and compares what they show
// with the server's responses. Usage: [KEY=...] node drive.mjs BASE_URL OUT_DIR
// Exit code 1 if a check fails. CHROMIUM names another browser than /usr/bin/chromium.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { accessibleFocus, contrasts, equal, focusLook, near, ok, shownGrid, shownScores, until } from './look.mjs';

const [base, out] = process.argv.slice(2);
if (!out) {
  console.error('Usage: [KEY=...] node drive.mjs BASE_URL OUT_DIR');
  process.exit(2);
}
const origin = new URL(base).origin;
const key = process.env.KEY;
mkdirSync(out, { recursive: true });

// ---- Requests to the server without the page ----

async function call(path, body) {
  const headers = { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) };
  const response = await fetch(origin + path, body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers });
  return { status: response.status, answer: await response.json() };
}
const models = (await call('/v1/models')).answer.data;
const model = models[0];
ok(model.state === 'ready', `the first model is ready, not ${model.state}`);
const SOURCE = 'That is a happy person';
const SENTENCES = ['That is a happy dog', 'That is a very happy person', 'Today is a sunny day'];
const similarity = (source_sentence, sentences) => call('/similarity', { model: model.id, inputs: { source_sentence, sentences } });

// ---- A page for each check ----

const profile = mkdtempSync(join(tmpdir(), 'likewise-page-'));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  viewport: { width: 1280, height: 900 },
  reducedMotion: 'reduce',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

/** Opens a page that records problems. `expected` lists the statuses that a check provokes. */
async function open(path = '/', { expected = [], prepare, width = 1280, scheme = 'light', ready = true } = {}) {
  const page = await context.newPage();
  page.problems = [];
  page.on('request', (request) => {
    const { protocol, origin: to } = new URL(request.url());
    if (protocol !== 'data:' && to !== origin) page.problems.push(`a request to ${request.url()}`);
  });
  page.on('pageerror', (error) => page.problems.push(`an uncaught error: ${error.message}`));
  page.on('console', (message) => {
    const provoked = expected.some((word) => message.text().startsWith('Failed to load resource') && message.text().includes(word));
    const keyAsked = key && message.text().includes('status of 401');
    if (['error', 'warning'].includes(message.type()) && !provoked && !keyAsked) page.problems.push(`on the console: ${message.text()}`);
  });
  await page.setViewportSize({ width, height: width < 600 ? 780 : 900 });
  await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
  await prepare?.(page);
  const response = await page.goto(origin + path);
  const policy = response.headers()['content-security-policy'] ?? '';
  for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]) {
    ok(policy.includes(part), `${path} comes with the policy ${part}`);
  }
  if (path === '/' && ready) {
    if (key) await giveKey(page, key);
    await until('the model is ready', async () => (await text(page, '#model-state')) === 'Ready');
  }
  return page;
}

async function giveKey(page, value) {
  await page.locator('#key').fill(value);
  await page.keyboard.press('Enter');
}
const text = async (page, selector) => (await page.locator(selector).textContent()).trim();
const status = (page) => text(page, '#status');
const answering = (page, path) => page.waitForResponse((response) => new URL(response.url()).pathname === path);
const fulfil = (body, code = 200, headers = {}) => (route) => route.fulfill({ status: code, json: body, headers });

async function compare(page, source, sentences, route = '/similarity') {
  if (source !== undefined) await page.fill('#source', source);
  // `fill` types, which is too slow for thousands of lines.
  if (sentences) await page.locator('#sentences').evaluate((field, lines) => { field.value = lines; }, sentences.join('\n'));
  const answer = answering(page, route);
  await page.click('#compare-form button[type=submit]');
  const response = await answer;
  await until('the results are there', () => page.locator('#results:not([aria-busy])').count());
  return response;
}
async function openHeat(page, sentence) {
  await page.locator('#scores button', { hasText: sentence }).first().click();
  await until('the heat map is there', () => page.locator('#heat:not([hidden]):not([aria-busy]) td').count());
}
async function noOverflow(page, what) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  ok(content <= window, `${what}: ${content} px of content in a window of ${window} px`);
}
async function readable(page, what) {
  const { worst, count } = await contrasts(page);
  ok(count > 20, `${what}: ${count} texts were measured`);
  ok(worst.ratio >= 4.5, `${what}: contrast ${worst.ratio?.toFixed(2)} of "${worst.text}" is below 4.5`);
}

const checks = [];
const check = (name, body) => checks.push({ name, body });

check('scores and bars equal those of POST /similarity', async () => {
  const page = await open();
  equal(await page.inputValue('#source'), SOURCE, 'the initial source');
  equal((await page.inputValue('#sentences')).split('\n'), SENTENCES, 'the initial sentences');
  const response = await compare(page);
  const scores = (await similarity(SOURCE, SENTENCES)).answer;
  const entered = SENTENCES.map((sentence, i) => ({ sentence, score: scores[i] }));
  const low = Math.floor(Math.min(0, ...scores) * 4) / 4;
  for (const [order, expected] of [['highest', entered.toSorted((a, b) => b.score - a.score)], ['entered', entered]]) {
    await page.check(`[name=order][value=${order}]`, { force: true });
    const rows = await shownScores(page);
    equal(rows.map((row) => row.sentence), expected.map((row) => row.sentence), `the order "${order}"`);
    rows.forEach((row, i) => {
      equal(row.digits, expected[i].score.toFixed(4), `the score of "${row.sentence}"`);
      near(row.width / row.track, Math.abs(expected[i].score) / (1 - low), 1 / row.track, `the bar of "${row.sentence}"`);
      near(row.left / row.track, (Math.min(0, expected[i].score) - low) / (1 - low), 1 / row.track, 'where the bar begins');
    });
  }
  const headers = response.headers();
  const word = headers['x-compute-type'] === 'cache' ? 'from the cache' : 'computed';
  equal(await status(page), `3 scores, ${word} in ${headers['x-compute-time']} s.`, 'the timing');
  return page;
});

check('a reranker scores pairs, in the order of the sentences, and has no map of words', async () => {
  const reranker = { id: 'org/reranker', state: 'ready', kind: 'cross-encoder', labels: ['LABEL_0'], activation: 'Sigmoid' };
  const requests = [];
  const page = await open('/', {
    prepare: async (page) => {
      await page.route('**/v1/models', fulfil({ object: 'list', data: [reranker] }));
      await page.route('**/rerank', (route) => {
        requests.push(route.request().postDataJSON());
        return fulfil([{ index: 1, score: 0.9 }, { index: 0, score: 0.25 }, { index: 2, score: 0.01 }])(route);
      });
    },
  });
  await compare(page, undefined, undefined, '/rerank');
  equal(requests, [{ model: 'org/reranker', query: SOURCE, texts: SENTENCES, truncate: true }], 'the request');
  const rows = await shownScores(page);
  equal(rows.map((row) => [row.sentence, row.digits]),
    [[SENTENCES[1], '0.9000'], [SENTENCES[0], '0.2500'], [SENTENCES[2], '0.0100']], 'the scores');
  equal(await page.locator('#scores button').count(), 0, 'sentences that open a map');
  ok((await text(page, '#scores-hint')).startsWith('A cross-encoder'), 'the hint says why');
  equal(await text(page, '[data-setting=activation]'), 'Sigmoid', 'the activation');
  return page;
});

check('a late-interaction model ranks, with scores above 1 and without a map of words', async () => {
  const colbert = { id: 'org/colbert', state: 'ready', kind: 'multi-vector', dimensions: 128, similarity: 'maxsim' };
  const page = await open('/', {
    prepare: async (page) => {
      await page.route('**/v1/models', fulfil({ object: 'list', data: [colbert] }));
      await page.route('**/rerank', fulfil([{ index: 1, score: 30.5 }, { index: 0, score: 21.25 }, { index: 2, score: 9 }]));
    },
  });
  await compare(page, undefined, undefined, '/rerank');
  const rows = await shownScores(page);
  equal(rows.map((row) => row.digits), ['30.5000', '21.2500', '9.0000'], 'the scores');
  equal(await page.locator('#scores button').count(), 0, 'sentences that open a map');
  ok((await text(page, '#scores-hint')).startsWith('A late-interaction model'), 'the hint says why');
  return page;
});

check('scores below zero extend to the left of a zero line; a cached response is labelled', async () => {
  const headers = { 'x-compute-type': 'cache', 'x-compute-time': '0.000' };
  const page = await open('/', { prepare: (page) => page.route('**/similarity', fulfil([0.8, -0.3, -0.00001], 200, headers)) });
  await compare(page);
  const rows = await shownScores(page);
  equal(rows.map((row) => row.digits), ['0.8000', '0.0000', '-0.3000'], 'the scores');
  near(rows[0].left / rows[0].track, 0.5 / 1.5, 0.01, 'zero is a third of the way from -0.5 to 1');
  near((rows[2].left + rows[2].width) / rows[2].track, 0.5 / 1.5, 0.01, 'the bar below zero ends at zero');
  near(rows[2].width / rows[2].track, 0.3 / 1.5, 0.01, 'the bar below zero is as long as its score');
  ok(rows[0].colour !== rows[2].colour, 'bars below zero have another colour');
  ok(rows[0].zeroLine, 'the zero line is drawn');
  ok((await status(page)).includes('from the cache in 0.000 s'), 'the cached response is labelled');
  return page;
});

check('the heat map shows the cosines of POST /embed_all', async () => {
  const page = await open();
  await compare(page);
  await openHeat(page, SENTENCES[0]);
  const expected = await expectedGrid(SOURCE, SENTENCES[0]);
  equal(compareGrids(await shownGrid(page), expected), expected.values.length, 'rows that were compared');
  equal(await page.locator('#grid td').count(), expected.rows.length * expected.columns.length, 'cells');
  await page.hover('#grid tbody tr:nth-child(1) td:nth-of-type(1)');
  await page.hover('#grid tbody tr:nth-child(2) td:nth-of-type(3)');
  const wanted = `${expected.rows[1].text} and ${expected.columns[2].text}: ${expected.values[1][2].toFixed(4)}`;
  equal((await text(page, '#readout')).replace('−', '-'), wanted, 'the value under the pointer');
  equal(await page.locator('#grid th.marked').allTextContents(), [expected.columns[2].text, expected.rows[1].text], 'marked tokens');
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    const plain = (await shownGrid(page)).cells.flat().filter((cell) => !cell.special).sort((a, b) => a.value - b.value);
    const away = plain.map((cell) => (scheme === 'light' ? -cell.luminance : cell.luminance));
    const above = plain.findIndex((cell) => cell.value >= 0);
    ok(away.slice(above).every((far, i, all) => i === 0 || far >= all[i - 1] - 0.02), `${scheme}: a higher value is farther from the paper`);
    ok(Math.abs(away.at(-1) - away[above]) > 0.02, `${scheme}: the colours differ`);
  }
  await page.check('#hide-special');
  const kept = await shownGrid(page);
  const words = (tokens) => tokens.filter((token) => !token.special).map((token) => token.text);
  equal(kept.rows.map((row) => row.text), words(expected.rows), 'rows without special tokens');
  equal(kept.columns.map((column) => column.text), words(expected.columns), 'columns without special tokens');
  await page.locator('#scores button', { hasText: SENTENCES[0] }).first().click();
  ok(!(await page.isVisible('#heat')), 'a second activation closes the heat map');
  return page;
});

/** Tokens and cosines from the server's answers alone. */
async function expectedGrid(source, sentence) {
  const inputs = [source, sentence];
  const vectors = (await call('/embed_all', { model: model.id, inputs, truncate: true })).answer;
  const all = (await call('/tokenize', { model: model.id, inputs })).answer;
  const [rows, columns] = all.map((tokens, i) => {
    const ends = tokens.filter((token, j) => token.start === null && j > 0 && j >= tokens.length - 2);
    const count = vectors[i].length;
    return tokens.length > count ? [...tokens.slice(0, count - ends.length), ...ends] : tokens;
  });
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  return { rows, columns, values: vectors[0].map((a) => vectors[1].map((b) => cosine(a, b))), cut: all.map((t, i) => t.length > vectors[i].length) };
}

function compareGrids(grid, { rows, columns, values }) {
  equal(grid.rows.map((row) => row.text), rows.map((token) => token.text), 'the tokens of the rows');
  equal(grid.columns.map((column) => column.text), columns.map((token) => token.text), 'the tokens of the columns');
  ok(grid.rows.every((row) => row.scope === 'row') && grid.columns.every((column) => column.scope === 'col'), 'headers have a scope');
  grid.cells.forEach((cells, r) => {
    equal(cells.length, columns.length, `cells of row ${r}`);
    cells.forEach((cell, c) => {
      near(cell.value, values[r][c], 0.0051, `the number in cell ${r}, ${c}`);
      near(cell.precise, values[r][c], 0.000051, `the accessible value of cell ${r}, ${c}`);
      near(cell.strength, Math.min(1, Math.abs(values[r][c])), 0.001, `the colour of cell ${r}, ${c}`);
      equal(cell.orange, cell.precise < 0, `whether cell ${r}, ${c} is of the colour below zero`);
      equal(cell.special, rows[r].special || columns[c].special, `whether cell ${r}, ${c} is of a special token`);
      ok(cell.dimmed === cell.special, `cell ${r}, ${c} is ${cell.special ? '' : 'not '}dimmed`);
    });
  });
  return grid.cells.length;
}

check('the settings of the model equal those of GET /v1/models', async () => {
  const page = await open();
  equal(await text(page, '#model-name'), model.id, 'the name');
  const names = ['architecture', 'layers', 'width', 'max_length', 'modules', 'similarity', 'precision', 'simd', 'threads', 'prompts'];
  for (const name of names) {
    const value = Array.isArray(model[name]) ? model[name].join(', ') || 'none' : String(model[name]);
    equal((await text(page, `[data-setting=${name}]`)).replace(/(\d),(?=\d)/g, '$1'), value, `the setting ${name}`);
  }
  equal(await page.locator('#model option').count(), models.length, 'models to choose from');
  equal(await page.isVisible('#model'), models.length > 1, 'the choice is shown if there is one');
  return page;
});

check('loading and failed models are shown, and a model can be chosen', async () => {
  const asked = [];
  const second = { ...model, id: 'second', layers: 77 };
  const states = [{ id: 'first', state: 'loading' }, { id: 'first', state: 'loading' }, { id: 'first', state: 'failed', error: 'no <i>weights</i>' }];
  let sent;
  const page = await open('/', { ready: false, prepare: async (page) => {
    await page.route('**/v1/models', (route) => {
      asked.push(Date.now());
      return route.fulfill({ json: { data: [states[Math.min(asked.length, 3) - 1], second] } });
    });
    await page.route('**/similarity', (route) => {
      sent = route.request().postDataJSON();
      return route.fulfill({ json: [0.1, 0.2, 0.3] });
    });
  } });
  await until('the state Loading is shown', async () => (await text(page, '#model-state')) === 'Loading…');
  await until('the state Failed is shown', async () => (await text(page, '#model-state')) === 'Failed');
  equal(await text(page, '#model-error'), 'no <i>weights</i>', 'why it failed');
  equal(asked.length, 3, 'requests until no model is loading');
  asked.slice(1).forEach((time, i) => near(time - asked[i], 1000, 400, 'milliseconds between two requests'));
  await page.selectOption('#model', 'second');
  equal(await text(page, '[data-setting=layers]'), '77', 'the settings of the chosen model');
  equal(await text(page, '#model-error'), '', 'the chosen model has no error');
  await compare(page);
  equal(sent.model, 'second', 'the model in the request');
  await new Promise((done) => setTimeout(done, 1300));
  equal(asked.length, 3, 'requests after all models are loaded');
  return page;
});

check('the page works with the keyboard alone', async () => {
  const page = await open();
  const tab = async (back) => {
    await page.keyboard.press(back ? 'Shift+Tab' : 'Tab');
    const look = await focusLook(page);
    ok(look.visible, `the focus on ${look.name} is visible (outline ${look.width} px, contrast ${look.contrast.toFixed(1)}, pixels ${look.changed ? '' : 'not '}changed)`);
    return look.name;
  };
  if (key) await page.reload().then(() => until('the model is ready', async () => (await text(page, '#model-state')) === 'Ready'));
  const order = [];
  for (let i = 0; i < (models.length > 1 ? 7 : 6); i += 1) order.push(await tab());
  equal(order, ['a.skip', 'a', 'a', ...(models.length > 1 ? ['#model'] : []), '#source', '#sentences', 'button.primary'], 'the order of the tab key');
  const enters = answering(page, '/similarity');
  await page.keyboard.press('Enter');
  await enters;
  await until('scores are there', async () => (await shownScores(page)).length === 3);
  await tab(true);
  await tab(true);
  await page.keyboard.press('Control+A');
  await page.keyboard.type('Rain is falling');
  const sends = answering(page, '/similarity');
  await page.keyboard.press('Control+Enter');
  await sends;
  const scores = (await similarity('Rain is falling', SENTENCES)).answer.map((score) => score.toFixed(4)).sort();
  await until('Ctrl+Enter compares', async () => (await shownScores(page)).map((row) => row.digits).sort().join() === scores.join());
  await tab();
  await tab();
  equal(await tab(), '[name=order]', 'after the button');
  await page.keyboard.press('ArrowRight');
  equal((await shownScores(page)).map((row) => row.sentence), SENTENCES, 'the arrow key changes the order');
  equal(await tab(), '#scores button', 'after the order');
  await page.keyboard.press('Enter');
  await until('Enter opens the heat map', () => page.locator('#heat:not([aria-busy]) td').count());
  equal(await page.locator('#scores button[aria-expanded=true]').count(), 1, 'sentences said to be open');
  equal([await tab(), await tab(), await tab()], ['#scores button', '#scores button', '#hide-special'], 'after the sentence');
  equal(await tab(), 'td', 'after the tick box');
  const expected = await expectedGrid('Rain is falling', SENTENCES[0]);
  const [last, end] = [expected.rows.length - 1, expected.columns.length - 1];
  const walk = [[null, 0, 0], ['ArrowRight', 0, 1], ['ArrowDown', 1, 1], ['ArrowLeft', 1, 0], ['ArrowUp', 0, 0], ['ArrowUp', 0, 0],
    ['End', 0, end], ['Control+End', last, end], ['ArrowDown', last, end], ['Home', last, 0], ['Control+Home', 0, 0], ['ArrowDown', 1, 0]];
  for (const [press, row, column] of walk) {
    if (press) await page.keyboard.press(press);
    const { role, name } = await accessibleFocus(page);
    const value = `${expected.rows[row].text} and ${expected.columns[column].text}: ${expected.values[row][column].toFixed(4)}`;
    equal([role, name.replace('−', '-')], ['gridcell', value], `the accessible cell after ${press}`);
    equal(await text(page, '#readout'), name, 'the value that is shown');
    ok((await focusLook(page)).visible, `the focus is visible after ${press}`);
  }
  equal(await tab(true), '#hide-special', 'the tab key leaves the table');
  equal(await tab(), 'td', 'and comes back');
  equal((await accessibleFocus(page)).name.split(' and ')[0], expected.rows[1].text, 'to the cell it left');
  equal(await tab(), 'summary', 'after the table');
  const explains = answering(page, '/explain');
  await page.keyboard.press('Enter');
  await explains;
  await until('Enter shows what carries the score', () => page.locator('#why-list tbody tr').count());
  ok((await text(page, '#why-rest')).startsWith('The other '), 'the share of the other pairs is shown');
  return page;
});

check('each failure shows a message', async () => {
  const page = await open('/', { expected: ['422', '500', 'ERR_FAILED'] });
  const many = Array(10_001).fill('a');
  const refused = await similarity('a', many);
  equal(refused.status, 422, 'the status of too many texts (requires the default --max-client-batch-size)');
  await compare(page, 'a', many);
  equal(await text(page, '#error'), refused.answer.error, 'the message for too many texts');
  equal(await page.getAttribute('#error', 'role'), 'alert', 'the role of the error');
  await compare(page, SOURCE, SENTENCES);
  equal(await text(page, '#error'), '', 'the error after a success');
  await page.route('**/similarity', fulfil({ error: 'It <b>broke</b>', error_type: 'internal' }, 500));
  await compare(page);
  equal(await text(page, '#error'), 'It <b>broke</b>', 'markup in an error is text');
  await page.unroute('**/similarity');
  await page.route('**/similarity', (route) => route.abort());
  await page.click('button.primary');
  await until('the message for a server that does not answer', async () => (await text(page, '#error')).includes('does not answer'));
  await page.route('**/embed_all', fulfil({ error: 'No vectors today' }, 500));
  await page.locator('#scores button').first().click();
  await until('the message for a failed heat map', async () => (await text(page, '#heat-error')) === 'No vectors today');
  await page.unroute('**/similarity');
  await page.fill('#source', ' ');
  await page.click('button.primary');
  ok((await text(page, '#error')).includes('source sentence'), 'a missing source is said');
  await compare(page, SOURCE, ['<img src=x onerror=alert(1)>', '<b>bold</b>']);
  equal((await shownScores(page)).map((row) => row.sentence).sort(), ['<b>bold</b>', '<img src=x onerror=alert(1)>'], 'markup in a sentence is text');
  return page;
});

check('the page requests a key only after a 401, and keeps it for this tab', async () => {
  const right = key ?? 'right';
  const open401 = (page) => page.route(/\/(v1\/models|similarity|embed_all|tokenize)$/, (route) =>
    (route.request().headers().authorization === `Bearer ${right}` ? route.continue() : route.fulfill({ status: 401, json: { error: 'A key, please' } })));
  const free = await open();
  equal(await free.isVisible('#key-form'), false, 'the field without a 401');
  await free.close();
  const page = await open('/', { expected: ['401'], prepare: open401, ready: false });
  await until('the page requests the key', () => page.isVisible('#key-form'));
  await giveKey(page, 'wrong');
  await until('the message for a wrong key', async () => (await text(page, '#key-hint')).includes('did not accept'));
  await giveKey(page, right);
  await until('the right key gives access', async () => (await text(page, '#model-state')) === 'Ready');
  equal(await page.isVisible('#key-form'), false, 'the key field after a right key');
  await compare(page);
  equal((await shownScores(page)).length, 3, 'scores with a key');
  await page.reload();
  await until('the key is kept', async () => (await text(page, '#model-state')) === 'Ready');
  return page;
});

check('an older response never replaces a newer one', async () => {
  const held = [];
  const page = await open('/', { prepare: (page) => page.route('**/similarity', async (route) => {
    const old = route.request().postDataJSON().inputs.source_sentence === 'old';
    if (old) await new Promise((release) => held.push(release));
    await route.fulfill({ json: old ? [0.1, 0.1, 0.1] : [0.9, 0.9, 0.9] }).catch(() => {});
  }) });
  await page.fill('#source', 'old');
  await page.click('button.primary');
  await until('the older request is pending', () => held.length);
  await compare(page, 'new');
  held.forEach((release) => release());
  await page.waitForTimeout(400);
  equal((await shownScores(page)).map((row) => row.digits), ['0.9000', '0.9000', '0.9000'], 'the scores of the newer request');
  const waiting = [];
  await page.route('**/embed_all', async (route) => {
    if (route.request().postDataJSON().inputs[1] === SENTENCES[0]) await new Promise((release) => waiting.push(release));
    await route.continue().catch(() => {});
  });
  await page.locator('#scores button').nth(0).click();
  await until('the older heat map is pending', () => waiting.length);
  await openHeat(page, SENTENCES[2]);
  waiting.forEach((release) => release());
  await page.waitForTimeout(400);
  const expected = await expectedGrid('new', SENTENCES[2]);
  equal((await shownGrid(page)).columns.map((column) => column.text), expected.columns.map((token) => token.text), 'the newer heat map');
  equal(await text(page, '#heat-sentence'), SENTENCES[2], 'the sentence of the heat map');
  return page;
});

check('truncated texts are marked, and long tables scroll in their box', async () => {
  const page = await open('/', { width: 360 });
  const long = 'A happy dog runs over the green grass. '.repeat(Math.ceil(model.max_length / 8));
  const response = await compare(page, SOURCE, [long, SENTENCES[0]]);
  const cut = Number(response.headers()['x-truncated-texts']);
  equal(cut, 1, 'texts that the server truncated');
  ok((await text(page, '#cut')).startsWith('1 text had more tokens'), 'the scores have a note about the truncated text');
  await openHeat(page, long.trim());
  const expected = await expectedGrid(SOURCE, long.trim());
  equal(expected.cut, [false, true], 'which text is cut');
  compareGrids(await shownGrid(page), expected);
  ok((await text(page, '#heat-cut')).startsWith('The sentence was cut'), 'the heat map has a note about the truncated sentence');
  const box = await page.locator('#grid-box').evaluate((element) => [element.scrollWidth, element.clientWidth]);
  ok(box[0] > box[1], 'the table is wider than its box');
  await noOverflow(page, 'a long heat map');
  await page.locator('#grid td').first().focus();
  await page.keyboard.press('End');
  ok(await page.locator('#grid tr:nth-child(1) td').last().evaluate((cell) => {
    const [a, b] = [cell.getBoundingClientRect(), document.getElementById('grid-box').getBoundingClientRect()];
    return a.left >= b.left && a.right <= b.right + 1;
  }), 'the focused cell scrolls into view');
  await compare(page, long, [long, 'short']);
  await openHeat(page, long.trim());
  const cells = await page.locator('#grid td').count();
  ok(cells > 1000 && cells <= 40_000, `two long texts make ${cells} cells, at most 40000`);
  const readTokens = Math.min(model.max_length, 10_000) ** 2;
  equal((await text(page, '#heat-part')).startsWith('The first'), readTokens > cells, 'a note mentions omitted tokens');
  ok((await text(page, '#heat-cut')).startsWith('Both texts were cut'), 'a note mentions that both texts are truncated');
  return page;
});

check('the layout fits narrow and wide windows, light and dark', async () => {
  for (const [width, scheme, name] of [[1280, 'light', 'wide'], [360, 'light', 'narrow'], [1280, 'dark', 'dark'], [768, 'dark'], [360, 'dark', 'narrow-dark']]) {
    const page = await open('/', { width, scheme });
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
    ok(scheme === 'dark' ? Math.max(...paper) < 60 : Math.min(...paper) > 200, `${scheme}: the paper is ${paper}`);
    await compare(page);
    await openHeat(page, SENTENCES[1]);
    await noOverflow(page, `the page at ${width} px`);
    await readable(page, `the page, ${scheme}, ${width} px`);
    const edges = await page.evaluate(() => [...document.querySelectorAll('.intro, .card')].filter((one) => one.checkVisibility())
      .map((one) => one.getBoundingClientRect()).map(({ left, right }) => [left, right]));
    const [[left, right]] = edges;
    // Each card begins or ends at the edge of the page's column: two cards side by side, or all in one column.
    ok(edges.every(([from, to]) => Math.abs(from - left) < 1 || Math.abs(to - right) < 1), `${width} px: cards in line: ${edges}`);
    if (name) await page.screenshot({ path: join(out, `${name}.png`), fullPage: true });
    await compare(page, 'x'.repeat(300), ['y'.repeat(300), ...SENTENCES]);
    await openHeat(page, 'yyy');
    await noOverflow(page, `long words at ${width} px`);
    await settle(page);
    const docs = await open('/docs', { width, scheme });
    await until('the documentation is there', () => docs.locator('article').count());
    await noOverflow(docs, `the documentation at ${width} px`);
    // Opens only some sections, because all of them would make a screenshot of seventy thousand lines.
    for (const n of [0, 1, 9]) await docs.locator('summary').nth(n).click();
    await noOverflow(docs, `the documentation at ${width} px, opened`);
    await readable(docs, `the documentation, ${scheme}, ${width} px`);
    if (name) await docs.screenshot({ path: join(out, `docs-${name}.png`), fullPage: name === 'wide' });
    await settle(docs);
  }
});

check('the documentation equals /openapi.json, and its examples work', async () => {
  const page = await open('/docs');
  const api = (await call('/openapi.json')).answer;
  await until('the documentation is there', () => page.locator('article').count());
  const methods = ['get', 'post', 'put', 'delete', 'patch', 'head', 'options'];
  const routes = Object.entries(api.paths).flatMap(([path, item]) => methods.filter((m) => item[m]).map((method) => ({ path, method, ...item[method] })));
  ok(routes.length > 3, `${routes.length} routes`);
  equal(await page.locator('article').count(), routes.length, 'routes');
  for (const route of routes) {
    const article = page.locator(`article[data-route="${route.method} ${route.path}"]`);
    const words = (await article.textContent()).replace(/\s+/g, ' ');
    const where = `${route.method} ${route.path}`;
    for (const said of [route.summary, route.description]) {
      ok(!said || words.includes(said.replaceAll('`', '').replace(/\s+/g, ' ')), `${where} says "${said}"`);
    }
    ok(!(await article.locator('pre').first().isVisible()), `${where} is closed at first`);
    await article.locator('summary').click();
    const group = await article.locator('xpath=..').locator('h2').textContent();
    equal(group, route.tags?.[0] ?? 'Other', `the group of ${where}`);
    for (const name of fieldNames(api, route)) ok(words.includes(name), `${where} lists the field ${name}`);
    for (const status of Object.keys(route.responses ?? {})) ok(words.includes(status), `${where} lists the status ${status}`);
    const command = await article.locator('pre[aria-label=Command]').textContent();
    ok(command.startsWith(`curl '${origin}/`), `${where}: the command asks this server: ${command}`);
    await article.getByRole('button', { name: /^Copy/ }).click();
    equal(await page.evaluate(() => getSelection().toString()), command, `${where}: the copied command`);
    if (route.path.includes('{')) continue;
    const quoted = [...command.matchAll(/'((?:[^']|'\\'')*)'/g)].map((match) => match[1].replaceAll("'\\''", "'"));
    const body = /\s-d '/.test(command) ? JSON.parse(quoted.at(-1)) : undefined;
    const headers = { ...(body && { 'content-type': 'application/json' }), ...(key && { authorization: `Bearer ${key}` }) };
    const answer = await fetch(quoted[0], { method: route.method.toUpperCase(), headers, body: body && JSON.stringify(body) });
    ok(answer.ok, `${where}: its example is answered with ${answer.status}`);
  }
  const named = await open('/docs#post-embed');
  await until('the route that the address names is open', () => named.locator('#post-embed details[open]').count());
  await settle(named);
  return page;
});

/** The names of the fields of a route's request, through references but not into other fields. */
function fieldNames(api, route) {
  const follow = (schema = {}) => (schema.$ref ? follow(schema.$ref.slice(2).split('/').reduce((at, step) => at?.[step], api)) : schema);
  const names = (given) => {
    const schema = follow(given);
    const parts = [...(schema.oneOf ?? []), ...(schema.anyOf ?? []), ...(schema.allOf ?? [])];
    return [...Object.keys(schema.properties ?? {}), ...parts.flatMap(names)];
  };
  return Object.values(follow(route.requestBody).content ?? {}).flatMap((media) => names(media.schema));
}

async function settle(page) {
  equal(page.problems, [], 'what must not happen');
  await page.close();
}

let failed = 0;
for (const { name, body } of checks) {
  const began = Date.now();
  try {
    const page = await body();
    if (page) await settle(page);
    console.log(`ok      ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n        ${error.message.slice(0, 600)}`);
    for (const page of context.pages().slice(1)) {
      await page.screenshot({ path: join(out, 'failed.png') }).catch(() => {});
      if (page.problems?.length) console.log(`        ${page.problems.join('\n        ')}`);
      await page.close();
    }
  }
}
await context.close();
rmSync(profile, { recursive: true, force: true });
console.log(failed ? `${failed} of ${checks.length} checks failed` : `all ${checks.length} checks passed; screenshots in ${out}`);
process.exit(failed ? 1 : 0);
