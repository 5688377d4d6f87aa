// Shows an explanation. Texts enter the page as text only, never as markup.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const MOST_PAIRS = 12;
const MOST_CELLS = 2500;

/** A new element; children that are strings become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A number with a true minus sign, and none before a zero. */
function digits(value, places = 4) {
  const text = value.toFixed(places);
  return Number(text) === 0 ? (0).toFixed(places) : text.replace('-', '−');
}

const label = (token) => token.text.trim() || token.token;
const name = (token) => make('bdi', { dir: 'auto' }, label(token));
const ofText = (side) => (side === 0 ? 'the first text' : 'the second text');

// ---- Groups of tokens ----

/** Makes the buttons of a group. Only one is in the tab order; the arrows move, `vertical` to another group. */
function showTokens(group, tokens, { activate, leave, vertical }) {
  const buttons = tokens.map((token, i) => {
    const kinds = ['token', token.start === null ? 'special' : '', token.counted ? '' : 'uncounted'];
    const button = make('button', { type: 'button', class: kinds.filter(Boolean).join(' '), tabindex: i ? -1 : 0, 'aria-pressed': false });
    button.append(name(token), make('small', {}));
    button.addEventListener('focus', () => {
      for (const other of group.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
      button.tabIndex = 0;
      activate(i);
    });
    button.addEventListener('click', () => activate(i));
    button.addEventListener('mouseenter', () => activate(i));
    button.addEventListener('mouseleave', () => leave?.());
    return button;
  });
  group.onkeydown = (event) => {
    const at = buttons.indexOf(event.target);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const target = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (target !== undefined) {
      event.preventDefault();
      buttons[Math.min(Math.max(target, 0), buttons.length - 1)].focus();
    } else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      if (!vertical) return;
      event.preventDefault();
      vertical(event.key === 'ArrowDown');
    }
  };
  group.replaceChildren(...buttons);
  return buttons;
}

/** Gives a token a shade, by a value from −1 to 1, and the number that the shade stands for. */
function shade(button, strength, number, description) {
  button.classList.toggle('minus', strength < 0);
  // The root spreads small contributions, so that they can be told from none.
  button.style.setProperty('--strength', `${Math.sqrt(Math.min(1, Math.abs(strength))) * 100}%`);
  button.querySelector('small').textContent = number;
  button.setAttribute('aria-label', description);
}

// ---- Contributions ----

const groups = [byId('first'), byId('second')];
let buttons = [[], []];
let chosen = null;

const contribution = (side, own, other) => (side === 0 ? data.pairs[own]?.[other] : data.pairs[other]?.[own]) ?? 0;
const sums = [0, 1].map((side) => data.texts[side].tokens.map((_, own) => (data.pairs
  ? data.texts[1 - side].tokens.reduce((sum, _other, other) => sum + contribution(side, own, other), 0) : 0)));
const most = (values) => values.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0) || 1;
const mostOfPairs = data.pairs ? most(data.pairs.flat()) : 1;

function showSums() {
  chosen = null;
  for (const side of [0, 1]) {
    const largest = most(sums[side]);
    data.texts[side].tokens.forEach((token, i) => {
      const value = sums[side][i];
      shade(buttons[side][i], value / largest, digits(value), `${label(token)}, token ${i} of ${ofText(side)}: all its pairs carry ${digits(value)}`);
      buttons[side][i].setAttribute('aria-pressed', false);
    });
  }
  byId('readout').textContent = 'The number under a token is what all its pairs carry.';
}

function choose(side, own) {
  showSums();
  chosen = [side, own];
  const token = data.texts[side].tokens[own];
  buttons[side][own].setAttribute('aria-pressed', true);
  const others = data.texts[1 - side].tokens;
  const values = others.map((_, other) => contribution(side, own, other));
  others.forEach((other, i) => {
    shade(buttons[1 - side][i], values[i] / mostOfPairs, digits(values[i]),
      `${label(other)}, token ${i} of ${ofText(1 - side)}: with ${label(token)} it carries ${digits(values[i])}`);
  });
  const order = values.map((_, i) => i).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  const best = order.filter((i) => values[i] !== 0).slice(0, 3);
  const parts = best.flatMap((i, n) => [n ? ', ' : '', name(others[i]), ' ', make('b', {}, digits(values[i]))]);
  byId('readout').replaceChildren(name(token), ' carries ', make('b', {}, digits(sums[side][own])), ...(best.length ? [', most of all with ', ...parts] : []));
}

/** After the pointer leaves, the token with the focus is shown, or the sums. */
function restore() {
  for (const side of [0, 1]) {
    const own = buttons[side].indexOf(document.activeElement);
    if (own >= 0) {
      choose(side, own);
      return;
    }
  }
  showSums();
}

function showTexts() {
  if (!data.pairs) {
    byId('texts-hint').textContent = 'The vectors have a weight for each term of the vocabulary, so the score is divided among terms, in the list below.';
    byId('legend').hidden = byId('readout').hidden = true;
    data.texts.forEach((text, side) => groups[side].replaceChildren(...text.tokens.map((token) => make('span', { class: 'token plain' }, name(token)))));
    return;
  }
  byId('texts-hint').textContent = 'Point at a token, or move to it with Tab and the arrow keys: the tokens of the other text show what they carry together with it.';
  buttons = data.texts.map((text, side) => showTokens(groups[side], text.tokens, {
    activate: (i) => choose(side, i),
    leave: restore,
    vertical: (down) => down === (side === 0) && buttons[1 - side].find((button) => button.tabIndex === 0)?.focus(),
  }));
  for (const group of groups) group.addEventListener('focusout', (event) => groups.some((one) => one.contains(event.relatedTarget)) || showSums());
  showSums();
}

// ---- The list ----

const share = (value) => (data.explained ? `${digits((value / data.explained) * 100, 1)} %` : '');

function barRow(value, largest, ...cells) {
  const bar = make('span', { class: value < 0 ? 'bar minus' : 'bar' });
  bar.style.width = `${(Math.abs(value) / largest) * 100}%`;
  return make('tr', {}, make('td', { class: 'number' }, digits(value)), make('td', { class: 'number' }, share(value)),
    make('td', { class: 'bar-cell' }, bar), ...cells);
}

function showList() {
  const heads = (...names) => make('thead', {}, make('tr', {}, ...names.map((text, i) => make('th', { scope: 'col', class: i < 2 ? 'number' : '' }, text))));
  const cell = (token, i) => make('td', {}, name(token), ' ', make('span', { class: 'at' }, String(i)));
  let rows;
  let total;
  let kept;
  if (data.pairs) {
    const pairs = data.pairs.flatMap((row, i) => row.map((value, j) => ({ value, i, j }))).filter(({ value }) => value !== 0);
    pairs.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    [total, kept] = [pairs.length, pairs.slice(0, MOST_PAIRS)];
    rows = kept.map(({ value, i, j }) => barRow(value, Math.abs(pairs[0].value), cell(data.texts[0].tokens[i], i), cell(data.texts[1].tokens[j], j)));
    byId('list').append(heads('Carries', 'Share', 'Bar', 'First text', 'Second text'));
  } else {
    [total, kept] = [data.terms.length, data.terms.slice(0, MOST_PAIRS).map((term) => ({ ...term, value: term.contribution }))];
    const largest = most(kept.map(({ value }) => value));
    const weight = (x) => make('td', { class: 'number' }, digits(x));
    rows = kept.map((term) => barRow(term.value, largest, make('td', {}, make('bdi', { dir: 'auto' }, term.token)), ...term.weights.map(weight)));
    byId('list').append(heads('Carries', 'Share', 'Bar', 'Term', 'First weight', 'Second weight'));
  }
  byId('list').append(make('tbody', {}, ...rows));
  const others = data.explained - data.rest - kept.reduce((sum, { value }) => sum + value, 0);
  const what = data.pairs ? 'pairs' : 'terms';
  const parts = [];
  if (total > kept.length) parts.push(`The other ${total - kept.length} ${what} carry ${digits(others)} (${share(others)}).`);
  if (data.rest) parts.push(`What belongs to no token carries ${digits(data.rest)} (${share(data.rest)}).`);
  byId('list-rest').textContent = parts.join(' ');
}

// ---- Attention ----

/** The weights of a layer and head, in thousandths; the mean of the heads is at index 0. */
const attentionOf = () => data.attention[Number(byId('attention-text').value)][Number(byId('attention-layer').value)][Number(byId('attention-head').value)];
let attending = [];

function attend(own) {
  const { tokens } = data.texts[Number(byId('attention-text').value)];
  const row = attentionOf().slice(own * tokens.length, (own + 1) * tokens.length);
  tokens.forEach((token, i) => {
    shade(attending[i], row[i] / 1000, `${digits(row[i] / 10, 1)}`, `${label(token)}, token ${i}: gets ${digits(row[i] / 10, 1)} percent of the attention of ${label(tokens[own])}`);
    attending[i].setAttribute('aria-pressed', i === own);
  });
  const order = row.map((_, i) => i).sort((a, b) => row[b] - row[a]).slice(0, 3);
  const parts = order.flatMap((i, n) => [n ? ', ' : '', name(tokens[i]), ' ', make('b', {}, `${digits(row[i] / 10, 1)} %`)]);
  byId('attention-readout').replaceChildren(name(tokens[own]), ' attends most to ', ...parts);
}

function showMatrix() {
  const { tokens } = data.texts[Number(byId('attention-text').value)];
  byId('matrix-box').hidden = tokens.length ** 2 > MOST_CELLS;
  if (byId('matrix-box').hidden || !byId('matrix-box').open) return;
  const weights = attentionOf();
  const head = make('tr', {}, make('td', {}), ...tokens.map((token) => make('th', { scope: 'col', title: label(token) }, name(token))));
  head.firstChild.style.visibility = 'hidden';
  const rows = tokens.map((token, i) => make('tr', {}, make('th', { scope: 'row', title: label(token) }, name(token)), ...tokens.map((_, j) => {
    const cell = make('td', {}, digits(weights[i * tokens.length + j] / 10, 0));
    cell.style.setProperty('--strength', `${Math.sqrt(weights[i * tokens.length + j] / 1000) * 100}%`);
    return cell;
  })));
  byId('matrix').replaceChildren(make('thead', {}, head), make('tbody', {}, ...rows));
}

function showAttention() {
  const side = Number(byId('attention-text').value);
  const layer = Number(byId('attention-layer').value);
  const heads = data.attention[side][layer];
  const names = heads.map((_, i) => (i ? `Head ${i - 1}` : 'Mean of all heads'));
  if (byId('attention-head').options.length !== heads.length) {
    byId('attention-head').replaceChildren(...names.map((text, i) => make('option', { value: i }, text)));
  }
  const own = Math.max(0, attending.findIndex((button) => button.getAttribute('aria-pressed') === 'true'));
  const { tokens } = data.texts[side];
  attending = showTokens(byId('attending'), tokens, { activate: attend });
  attend(own < tokens.length ? own : 0);
  attending.forEach((button) => { button.tabIndex = button.getAttribute('aria-pressed') === 'true' ? 0 : -1; });
  showMatrix();
}

function openAttention() {
  if (!data.attention?.[0]?.length) return;
  byId('attention').hidden = false;
  byId('attention-layer').append(...data.attention[0].map((_, i) => make('option', { value: i }, `Layer ${data.first_layer + i}`)));
  byId('attention-layer').value = data.attention[0].length - 1;
  for (const id of ['attention-text', 'attention-layer', 'attention-head']) byId(id).addEventListener('change', showAttention);
  byId('matrix-box').addEventListener('toggle', showMatrix);
  showAttention();
}

byId('model').textContent = data.model;
byId('score').textContent = digits(data.score);
byId('similarity').textContent = data.similarity;
byId('notes').append(...data.notes.map((note) => make('li', {}, `${note[0].toUpperCase()}${note.slice(1)}.`)));
showTexts();
showList();
openAttention();
