// What carries the score of the sentence whose heat map is open. Follows page.js, whose functions it uses.
'use strict';

const MOST_PARTS = 10;
let explained = null;

/** The pairs of tokens or the shared terms, those that carry most first. */
function partsOf(answer) {
  const label = (token) => token.text.trim() || token.token;
  const [a, b] = answer.texts.map((text) => text.tokens.map(label));
  const parts = answer.pairs
    ? answer.pairs.flatMap((row, i) => row.map((value, j) => ({ value, names: [`${a[i]} (${i})`, `${b[j]} (${j})`] })))
    : answer.terms.map((term) => ({ value: term.contribution, names: [term.token, term.weights.map((x) => digits(x, 4)).join(' · ')] }));
  return parts.filter(({ value }) => value !== 0).sort((x, y) => Math.abs(y.value) - Math.abs(x.value));
}

function showExplanation(answer) {
  const parts = partsOf(answer);
  const kept = parts.slice(0, MOST_PARTS);
  const share = (value) => (answer.explained ? `${digits((value / answer.explained) * 100, 1)} %` : '');
  const head = ['Carries', 'Share', '', ...(answer.pairs ? ['Source', 'Sentence'] : ['Term', 'Weights'])];
  const rows = kept.map(({ value, names }) => {
    const bar = make('span', { class: value < 0 ? 'bar minus' : 'bar' });
    bar.style.width = `${(Math.abs(value) / Math.abs(kept[0].value)) * 100}%`;
    const cells = names.map((name) => make('td', {}, make('bdi', {}, name)));
    return make('tr', {}, make('td', {}, digits(value, 4)), make('td', {}, share(value)), make('td', {}, bar), ...cells);
  });
  byId('why-list').replaceChildren(make('thead', {}, make('tr', {}, ...head.map((text) => make('th', { scope: 'col' }, text)))), make('tbody', {}, ...rows));
  const others = answer.explained - answer.rest - kept.reduce((sum, { value }) => sum + value, 0);
  const what = answer.pairs ? 'pairs' : 'terms';
  const rest = parts.length > kept.length ? [`The other ${parts.length - kept.length} ${what} carry ${digits(others, 4)} (${share(others)}).`] : [];
  if (answer.rest) rest.push(`What belongs to no token carries ${digits(answer.rest, 4)}.`);
  byId('why-rest').textContent = [...rest, ...answer.notes.map((note) => `${note[0].toUpperCase()}${note.slice(1)}.`)].join(' ');
}

/** Asks for the explanation, if it is open and another one is shown. */
async function explain() {
  if (!byId('why').open || !heat || explained === heat.item) return;
  const { item } = heat;
  const signal = begin('explain');
  for (const id of ['why-error', 'why-rest', 'why-list']) byId(id).replaceChildren();
  try {
    const { answer } = await ask('explain', { model: shown.model, inputs: [shown.source, item.text] }, signal);
    if (signal.aborted) return;
    explained = item;
    showExplanation(answer);
  } catch (error) {
    if (!signal.aborted) fail(error, byId('why-error'), explain);
  }
}

byId('why').addEventListener('toggle', explain);
// The button of the sentence has opened its heat map already.
byId('scores').addEventListener('click', explain);
