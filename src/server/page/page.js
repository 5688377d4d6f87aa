// The page of `likewise serve`: scores of sentences against a source, and which tokens of two sentences are alike.
// Texts of users and of the server enter the page as text only, never as markup.
'use strict';

const byId = (id) => document.getElementById(id);

/** A new element; children that are strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A number as people write it: with a true minus sign, and none before a zero. */
function digits(value, places) {
  const text = value.toFixed(places);
  return Number(text) === 0 ? (0).toFixed(places) : text.replace('-', '−');
}

const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;

// ---- Requests ----

const KEY_NAME = 'likewise-api-key';
let apiKey = null;
try {
  apiKey = sessionStorage.getItem(KEY_NAME);
} catch {
  // Without storage the key is lost when the page closes.
}

/** The newest request of each kind. A newer one ends the older, whose answer must never be shown over it. */
const newest = new Map();
function begin(kind) {
  newest.get(kind)?.abort();
  const controller = new AbortController();
  newest.set(kind, controller);
  return controller.signal;
}

async function ask(path, body, signal) {
  const headers = { accept: 'application/json' };
  if (body) headers['content-type'] = 'application/json';
  if (apiKey) headers.authorization = `Bearer ${apiKey}`;
  const options = { method: body ? 'POST' : 'GET', headers, signal, body: body && JSON.stringify(body) };
  const response = await fetch(path, options).catch((error) => {
    throw signal.aborted ? error : new Error('The server does not answer. Is it still running?');
  });
  if (response.ok) return { answer: await response.json(), headers: response.headers };
  const answer = await response.json().catch(() => null);
  const error = new Error(answer?.error ?? `The server answered with status ${response.status}.`);
  error.status = response.status;
  throw error;
}

/** Says what went wrong, or asks for the key and keeps what to do once it is there. */
const waitingForKey = new Set();
function fail(error, place, retry) {
  if (error.status !== 401) {
    place.textContent = error.message;
    return;
  }
  byId('key-hint').textContent = apiKey ? 'The server did not accept this key.' : 'This server asks for a key.';
  waitingForKey.add(retry);
  if (byId('key-form').hidden || apiKey) {
    byId('key-form').hidden = false;
    byId('key').focus();
  }
}

function useKey(event) {
  event.preventDefault();
  apiKey = byId('key').value.trim();
  try {
    sessionStorage.setItem(KEY_NAME, apiKey);
  } catch {
    // Without storage, as above.
  }
  byId('key-form').hidden = true;
  byId('source').focus();
  const retries = [...waitingForKey];
  waitingForKey.clear();
  for (const retry of retries) retry();
}

/** How long the server computed, from the headers of its answer. */
function timing(headers) {
  const seconds = headers.get('x-compute-time') ?? '?';
  return headers.get('x-compute-type') === 'cache' ? `from the cache in ${seconds} s` : `computed in ${seconds} s`;
}

// ---- The model ----

const SETTINGS = [
  ['architecture', 'Architecture'], ['layers', 'Layers'], ['heads', 'Heads'], ['width', 'Width'],
  ['kind', 'Kind'], ['dimensions', 'Dimensions'], ['labels', 'Labels'], ['activation', 'Activation'], ['parameters', 'Parameters'], ['vocabulary', 'Vocabulary'],
  ['max_length', 'Max tokens'], ['similarity', 'Similarity'], ['modules', 'Modules'], ['weights', 'Weights'],
  ['precision', 'Precision'], ['simd', 'SIMD level'], ['threads', 'Threads'], ['prompts', 'Prompts'],
  ['prompt', 'Prompt used'],
];
const STATES = { ready: 'Ready', loading: 'Loading…', failed: 'Failed' };
const POLL_MS = 1000;
let models = [];
let poll = 0;

/** Why a model that ranks texts shows no heat map. A cross-encoder has no vectors; a late-interaction model leaves out
 * tokens, and adds some to a query. */
const RANKERS = {
  'cross-encoder': 'A cross-encoder reads both texts at once, so it has no words to compare.',
  'multi-vector': 'A late-interaction model adds up the best match of each word of the source.',
};
const isRanker = (model) => model?.kind in RANKERS;
const chosenModel = () => models.find((model) => model.id === byId('model').value) ?? models[0];

async function loadModels() {
  clearTimeout(poll);
  const signal = begin('models');
  try {
    const { answer } = await ask('v1/models', null, signal);
    if (signal.aborted) return;
    const known = models.map((model) => model.id).join('\n');
    models = answer.data.filter((model) => !model.alias_of);
    if (models.map((model) => model.id).join('\n') !== known) {
      byId('model').replaceChildren(...models.map(({ id }) => make('option', { value: id }, id)));
    }
    byId('model-field').hidden = models.length < 2;
    showModel();
    if (models.some((model) => model.state === 'loading')) poll = setTimeout(loadModels, POLL_MS);
  } catch (error) {
    if (signal.aborted) return;
    fail(error, byId('model-error'), loadModels);
    if (!error.status) poll = setTimeout(loadModels, POLL_MS);
  }
}

function showModel() {
  const model = chosenModel();
  if (!model) return;
  byId('model-name').textContent = model.id;
  const state = STATES[model.state] ?? model.state;
  // Writing to a live region makes screen readers repeat it, even if its text is the same.
  if (byId('model-state').textContent !== state) byId('model-state').textContent = state;
  byId('model-state').dataset.state = model.state;
  byId('model-error').textContent = model.state === 'failed' ? model.error ?? 'This model could not be loaded.' : '';
  const given = SETTINGS.filter(([name]) => model[name] !== undefined && model[name] !== '' && model[name] !== null);
  byId('settings').replaceChildren(...given.map(([name, label]) => {
    const value = model[name];
    const text = Array.isArray(value) ? value.join(', ') || 'none'
      : typeof value === 'number' ? value.toLocaleString('en') : String(value);
    return make('div', {}, make('dt', {}, label), make('dd', { 'data-setting': name }, text));
  }));
}

// ---- Scores ----

/** The comparison on the page: what was sent, and a score for each sentence. */
let shown = null;

/** The scores of the sentences, in their order. */
async function requestScores(model, source, sentences, signal) {
  if (!isRanker(model)) {
    const inputs = { source_sentence: source, sentences };
    const { answer, headers } = await ask('similarity', { model: model?.id, inputs, parameters: { truncate: true } }, signal);
    return { scores: answer, headers };
  }
  const body = { model: model.id, query: source, texts: sentences, truncate: true };
  const { answer, headers } = await ask('rerank', body, signal);
  // The answer is in the order of the scores.
  return { scores: answer.toSorted((a, b) => a.index - b.index).map(({ score }) => score), headers };
}

async function compare() {
  const source = byId('source').value.trim();
  const sentences = byId('sentences').value.split('\n').map((line) => line.trim()).filter(Boolean);
  const signal = begin('compare');
  byId('error').textContent = '';
  if (!source || !sentences.length) {
    byId('error').textContent = source ? 'Write at least one sentence to compare with.' : 'Write a source sentence first.';
    byId(source ? 'sentences' : 'source').focus();
    byId('results').removeAttribute('aria-busy');
    return;
  }
  byId('results').setAttribute('aria-busy', 'true');
  const model = chosenModel();
  try {
    const { scores, headers } = await requestScores(model, source, sentences, signal);
    if (signal.aborted) return;
    const items = sentences.map((text, i) => ({ text, score: scores[i] }));
    shown = { source, model: model?.id, kind: model?.kind, hasTokens: !isRanker(model), items };
    closeHeat();
    showScores();
    byId('status').textContent = `${plural(scores.length, 'score')}, ${timing(headers)}.`;
    const cut = Number(headers.get('x-truncated-texts'));
    byId('cut').textContent = cut
      ? `${plural(cut, 'text')} had more tokens than the model reads; only the beginning was compared.` : '';
  } catch (error) {
    if (!signal.aborted) fail(error, byId('error'), compare);
  } finally {
    if (!signal.aborted) byId('results').removeAttribute('aria-busy');
  }
}

/** Where the bars begin and end: 0 to 1, farther if a score is, below zero in steps that keep the zero line still. */
function scale(scores) {
  const least = scores.reduce((a, b) => Math.min(a, b), 0);
  const most = scores.reduce((a, b) => Math.max(a, b), 0);
  if (least < -1 || most > 1.001) return { low: least, high: most };
  return { low: Math.floor(least * 4) / 4, high: 1 };
}

function showScores() {
  const { low, high } = scale(shown.items.map((item) => item.score));
  const percent = (value) => `${((value - low) / (high - low)) * 100}%`;
  const items = [...shown.items];
  if (document.querySelector('[name=order]:checked').value === 'highest') items.sort((a, b) => b.score - a.score);
  byId('scores').replaceChildren(...items.map((item) => {
    const bar = make('span', { class: item.score < 0 ? 'bar minus' : 'bar' });
    bar.style.left = percent(Math.min(0, item.score));
    bar.style.width = `${(Math.abs(item.score) / (high - low)) * 100}%`;
    const row = [make('span', { class: 'sentence' }, item.text), ' ',
      make('span', { class: 'track' }, bar), make('span', { class: 'score' }, digits(item.score, 4))];
    if (!shown.hasTokens) return make('li', {}, make('div', { class: 'row' }, ...row));
    item.button = make('button', { type: 'button', 'aria-expanded': item === heat?.item, 'aria-controls': 'heat' }, ...row);
    item.button.addEventListener('click', () => (heat?.item === item ? closeHeat() : openHeat(item)));
    return make('li', {}, item.button);
  }));
  byId('scores').style.setProperty('--zero', percent(0));
  byId('scores').classList.toggle('below-zero', low < 0);
  byId('empty').hidden = true;
  byId('scores-hint').textContent = shown.hasTokens ? 'Choose a sentence to see which words are alike.'
    : RANKERS[shown.kind];
  byId('order').hidden = byId('scores-hint').hidden = false;
}

// ---- The heat map ----

/** The sentence whose heat map is open; `rows` and `columns` (the tokens and their vectors) once they are there. */
let heat = null;
/** As many cells as a browser lays out while one waits. */
const MOST_CELLS = 40_000;

async function openHeat(item) {
  const signal = begin('heat');
  heat?.item.button.setAttribute('aria-expanded', 'false');
  item.button.setAttribute('aria-expanded', 'true');
  heat = { item };
  const { source, model } = shown;
  byId('heat-source').textContent = source;
  byId('heat-sentence').textContent = item.text;
  for (const id of ['heat-error', 'heat-status', 'heat-cut', 'heat-part']) byId(id).textContent = '';
  byId('heat').hidden = false;
  byId('heat').setAttribute('aria-busy', 'true');
  const inputs = [source, item.text];
  try {
    const [embedded, tokenized] = await Promise.all([
      ask('embed_all', { model, inputs, truncate: true }, signal), ask('tokenize', { model, inputs }, signal),
    ]);
    if (signal.aborted) return;
    [heat.rows, heat.columns] = inputs.map((_, i) => tokensRead(tokenized.answer[i], embedded.answer[i]));
    showHeat();
    const [rows, columns] = [heat.rows.length, heat.columns.length];
    byId('heat-status').textContent = `${rows} by ${plural(columns, 'token')}, ${timing(embedded.headers)}.`;
    const cut = inputs.map((_, i) => tokenized.answer[i].length > embedded.answer[i].length);
    const which = cut[0] && cut[1] ? 'Both texts were' : cut[0] ? 'The source was' : 'The sentence was';
    const headerCut = Number(embedded.headers.get('x-truncated-texts')) > 0;
    byId('heat-cut').textContent = cut[0] || cut[1] ? `${which} cut: the model reads only the first tokens.`
      : headerCut ? 'A text was cut: the model reads only the first tokens.' : '';
  } catch (error) {
    if (signal.aborted) return;
    byId('map').hidden = true;
    fail(error, byId('heat-error'), () => heat?.item === item && openHeat(item));
  } finally {
    if (!signal.aborted) {
      byId('heat').removeAttribute('aria-busy');
      byId('heat').scrollIntoView({ block: 'nearest' });
    }
  }
}

function closeHeat() {
  newest.get('heat')?.abort();
  heat?.item.button.setAttribute('aria-expanded', 'false');
  heat = null;
  byId('heat').hidden = byId('map').hidden = true;
  byId('grid').replaceChildren();
}

/** Each vector with its token. Of a text that was cut the model still reads the special tokens at the end. */
function tokensRead(tokens, vectors) {
  const count = Math.min(tokens.length, vectors.length);
  let closing = 0;
  if (tokens.length > count) while (closing < count && isTemplate(tokens.at(-1 - closing))) closing += 1;
  const read = [...tokens.slice(0, count - closing), ...tokens.slice(tokens.length - closing)];
  return read.map((token, i) => {
    const length = Math.sqrt(vectors[i].reduce((sum, x) => sum + x * x, 0)) || 1;
    return { text: token.text.trim() || '␣', special: token.special, unit: vectors[i].map((x) => x / length) };
  });
}

const isTemplate = (token) => token.special && token.start === null;

function showHeat() {
  if (!heat?.rows) return;
  const wanted = (token) => !(token.special && byId('hide-special').checked);
  const [rows, columns] = fit(heat.rows.filter(wanted), heat.columns.filter(wanted));
  const header = (token, scope) => make('th', { scope, class: token.special ? 'special' : '', title: token.text }, token.text);
  const head = make('tr', {}, make('th', { scope: 'col', class: 'corner' }, 'Source ↓ Sentence →'),
    ...columns.map((token) => header(token, 'col')));
  const body = rows.map((row) => make('tr', {}, header(row, 'row'), ...columns.map((column) => {
    const cosine = row.unit.reduce((sum, x, i) => sum + x * column.unit[i], 0);
    const sign = cosine < 0 ? 'minus' : 'plus';
    const label = `${row.text} and ${column.text}: ${digits(cosine, 4)}`;
    const kind = row.special || column.special ? `${sign} special` : sign;
    const cell = make('td', { tabindex: -1, class: kind, 'aria-label': label }, digits(cosine, 2));
    cell.style.setProperty('--strength', `${Math.min(1, Math.abs(cosine)) * 100}%`);
    return cell;
  })));
  byId('map').hidden = false;
  byId('grid').replaceChildren(make('thead', {}, head), make('tbody', {}, ...body));
  const first = byId('grid').querySelector('td');
  if (first) first.tabIndex = 0;
  const all = rows.length === heat.rows.filter(wanted).length && columns.length === heat.columns.filter(wanted).length;
  byId('readout').textContent = first ? 'Point at a cell to read its value.' : 'There are only special tokens here.';
  byId('heat-part').textContent = all ? '' : `The first ${rows.length} by ${columns.length} tokens are shown.`;
}

function fit(rows, columns) {
  if (rows.length * columns.length <= MOST_CELLS) return [rows, columns];
  const side = Math.sqrt(MOST_CELLS);
  const across = Math.max(side, Math.floor(MOST_CELLS / rows.length));
  const down = Math.max(side, Math.floor(MOST_CELLS / columns.length));
  return [rows.slice(0, down), columns.slice(0, across)];
}

/** Shows the value of the cell under the pointer or the focus, and marks its two tokens. */
function readCell(event) {
  const cell = event.target.closest('td');
  if (!cell) return;
  const label = cell.getAttribute('aria-label');
  const value = label.lastIndexOf(' ') + 1;
  byId('readout').replaceChildren(label.slice(0, value), make('strong', {}, label.slice(value)));
  for (const marked of byId('grid').querySelectorAll('.marked')) marked.classList.remove('marked');
  cell.parentElement.cells[0].classList.add('marked');
  byId('grid').rows[0].cells[cell.cellIndex].classList.add('marked');
}

/** The keys of a grid: only one cell is in the tab order, and the arrows move it. */
function moveCell(event) {
  const cell = event.target.closest('td');
  if (!cell || event.altKey || event.metaKey) return;
  const { rows } = byId('grid');
  const [lastRow, lastColumn] = [rows.length - 1, rows[0].cells.length - 1];
  const [row, column] = [cell.parentElement.rowIndex, cell.cellIndex];
  const target = {
    ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
    Home: [event.ctrlKey ? 1 : row, 1], End: [event.ctrlKey ? lastRow : row, lastColumn],
  }[event.key];
  if (!target) return;
  event.preventDefault();
  const next = rows[Math.min(Math.max(target[0], 1), lastRow)].cells[Math.min(Math.max(target[1], 1), lastColumn)];
  for (const stop of byId('grid').querySelectorAll('td[tabindex="0"]')) stop.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

byId('compare-form').addEventListener('submit', (event) => {
  event.preventDefault();
  compare();
});
byId('compare-form').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  compare();
});
byId('key-form').addEventListener('submit', useKey);
byId('model').addEventListener('change', showModel);
byId('order').addEventListener('change', showScores);
byId('hide-special').addEventListener('change', showHeat);
byId('grid').addEventListener('keydown', moveCell);
byId('grid').addEventListener('focusin', readCell);
byId('grid').addEventListener('mouseover', readCell);
loadModels();
