// Renders openapi.json as the documentation of the HTTP interface. All text enters the page as text only, never as markup.
'use strict';

const byId = (id) => document.getElementById(id);
const METHODS = ['get', 'post', 'put', 'patch', 'delete', 'head', 'options'];
/** Deeper than this a schema that contains itself is only named. */
const DEEPEST = 4;
let api = {};

/** A new element; children that are strings become text, missing ones are left out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

/** Prose in which `backticks` mark code. */
function prose(text = '') {
  return text.split('`').map((part, i) => (i % 2 ? make('code', {}, part) : part));
}

/** What a `$ref` stands for, in this file; words beside the `$ref` win over those of its target. */
function resolve(thing, hops = 0) {
  if (!thing?.$ref || hops > 16) return thing ?? {};
  const { $ref, ...beside } = thing;
  const steps = $ref.replace(/^#\//, '').split('/').map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  const target = steps.reduce((inside, step) => inside?.[step], api);
  return { ...resolve(target, hops + 1), ...beside };
}

/** A path or a field's name, which may break after its separators, not within its words. */
function breakable(name) {
  return name.split(/(?<=[/._[\]}-])/).flatMap((piece) => [piece, make('wbr')]);
}

// ---- Schemas ----

function typeOf(given, depth = 0) {
  const schema = resolve(given);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' or ');
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return [...new Set(choices.map((choice) => typeOf(choice, depth + 1)))].join(' or ');
  const types = [schema.type ?? (schema.properties || schema.allOf ? 'object' : 'anything')].flat();
  return types.map((type) => {
    if (type !== 'array') return type;
    return schema.items && depth < DEEPEST ? `array of ${listed(typeOf(schema.items, depth + 1))}` : 'array';
  }).join(' or ');
}

const listed = (type) => (type.includes(' or ') ? `(${type})` : type);

/** The fields of a schema, those within objects and arrays among them: rows of a table. */
function fieldsOf(given, prefix = '', depth = 0) {
  const schema = resolve(given);
  if (depth > DEEPEST) return [];
  const rows = (schema.allOf ?? []).flatMap((part) => fieldsOf(part, prefix, depth + 1));
  const choices = (schema.oneOf ?? schema.anyOf ?? []).map((choice) => fieldsOf(choice, prefix, depth + 1));
  // A field is required only if all choices require it.
  const always = (row) => choices.every((choice) => choice.some((other) => other.name === row.name && other.required));
  rows.push(...choices.flat().map((row) => ({ ...row, required: always(row) })));
  if (schema.items) rows.push(...fieldsOf(schema.items, `${prefix}[]`, depth + 1));
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const path = prefix ? `${prefix}.${name}` : name;
    const field = resolve(child);
    rows.push({ name: path, schema: field, required: (schema.required ?? []).includes(name), says: field.description });
    rows.push(...fieldsOf(field, path, depth + 1));
  }
  // Alternatives often share fields; the first one is shown for all.
  return rows.filter((row, i) => rows.findIndex((other) => other.name === row.name) === i);
}

/** A value that a schema describes: its own example, or one made of its parts. */
function exampleOf(given, depth = 0) {
  const schema = resolve(given);
  const own = schema.example ?? schema.examples?.[0] ?? schema.const ?? schema.default ?? schema.enum?.[0];
  if (own !== undefined || depth > DEEPEST) return own ?? null;
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return exampleOf(choices[0], depth + 1);
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => exampleOf(part, depth + 1)));
  const type = [schema.type].flat()[0];
  if (type === 'array') return [exampleOf(schema.items, depth + 1)];
  if (type === 'object' || schema.properties) {
    const required = schema.required ?? Object.keys(schema.properties ?? {});
    return Object.fromEntries(required.map((name) => [name, exampleOf(schema.properties?.[name], depth + 1)]));
  }
  return { string: 'text', integer: 1, number: 0.5, boolean: true }[type] ?? null;
}

function mediaExample(media) {
  const named = resolve(Object.values(media.examples ?? {})[0]).value;
  return media.example ?? named ?? (media.schema ? exampleOf(media.schema) : undefined);
}

// ---- Parts of a route ----

function table(rows, label) {
  if (!rows.length) return null;
  return make('table', { class: 'fields', 'aria-label': label }, make('tbody', {}, rows.map((row) => {
    const usual = row.schema.default;
    const facts = [typeOf(row.schema), row.where && `in the ${row.where}`,
      usual !== undefined && usual !== null && `otherwise ${JSON.stringify(usual)}`].filter(Boolean).join(', ');
    return make('tr', {},
      make('th', { scope: 'row' }, make('code', {}, breakable(row.name)), row.required ? make('div', { class: 'must' }, 'required') : ''),
      make('td', {}, make('div', { class: 'type' }, facts), row.says ? make('div', {}, prose(row.says)) : ''));
  })));
}

/** Short arrays of plain values stay on one line, as a person would write them. */
function pretty(value) {
  if (typeof value === 'string') return value;
  return JSON.stringify(value, null, 2).replace(/\[[^[\]{}]*\]/g, (list) => {
    const line = list.replace(/\n\s*/g, ' ').replace('[ ', '[').replace(' ]', ']');
    return line.length <= 76 ? line : list;
  });
}

function snippet(text, copyLabel) {
  const code = make('code', {}, text);
  const pre = make('pre', { tabindex: '0', 'aria-label': copyLabel ? 'Command' : 'Example' }, code);
  if (!copyLabel) return make('div', { class: 'snippet' }, pre);
  const button = make('button', { type: 'button', 'aria-label': copyLabel }, 'Copy');
  button.addEventListener('click', async () => {
    getSelection().selectAllChildren(code);
    // Browsers allow the clipboard only for pages from this machine or over TLS. Otherwise the text is selected.
    const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    button.textContent = copied ? 'Copied' : 'Selected';
    byId('copied').textContent = copied ? 'Copied.' : 'Selected; copy it with your keyboard.';
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
  return make('div', { class: 'snippet' }, button, pre);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(method, path, parameters, media, type) {
  // A reverse proxy may have added a prefix to the paths.
  let address = new URL('.', location.href).href.slice(0, -1) + path;
  const query = [];
  for (const { name, in: where, required, schema, example } of parameters) {
    const value = String(example ?? exampleOf(schema) ?? name);
    if (where === 'path') address = address.replace(`{${name}}`, value.split('/').map(encodeURIComponent).join('/'));
    if (where === 'query' && required) query.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  }
  if (query.length) address += `?${query.join('&')}`;
  const words = [`curl ${quoted(address)}`];
  if (method !== 'get' && !(method === 'post' && media)) words.push(`-X ${method.toUpperCase()}`);
  if (media) {
    const example = mediaExample(media);
    words.push(`-H ${quoted(`content-type: ${type}`)}`);
    words.push(`-d ${quoted(typeof example === 'string' && !type.includes('json') ? example : JSON.stringify(example))}`);
  }
  return words.join(' \\\n  ');
}

const part = (title, ...children) => make('div', { class: 'part' }, make('h4', {}, title), ...children);

function responses(operation, says, examples) {
  const refused = [];
  for (const [status, given] of Object.entries(operation.responses ?? {})) {
    const response = resolve(given);
    if (!/^[23]/.test(status)) {
      refused.push({ name: status, schema: {}, says: response.description });
      continue;
    }
    const [type, media] = Object.entries(response.content ?? {})[0] ?? [];
    const what = media?.schema ? `: ${typeOf(media.schema)}` : type ? `: ${type}` : '';
    says.append(part(`Response ${status}${what}`, make('p', {}, prose(response.description)),
      media?.schema && table(fieldsOf(media.schema), `Fields of the response ${status}`)));
    const example = media && mediaExample(media);
    if (example !== undefined && example !== null) examples.append(part(`Response ${status}`, snippet(pretty(example))));
  }
  if (!refused.length) return;
  const rows = refused.map(({ name, says: reason }) => make('tr', {},
    make('th', { scope: 'row' }, make('code', {}, name)), make('td', {}, prose(reason))));
  says.append(part('Errors', make('table', { class: 'fields', 'aria-label': 'Errors' }, make('tbody', {}, rows))));
}

function route({ path, method, operation, shared, id }) {
  const parameters = [...shared, ...(operation.parameters ?? [])].map((parameter) => resolve(parameter));
  const [type, media] = Object.entries(resolve(operation.requestBody).content ?? {})[0] ?? [];
  const summary = make('summary', {},
    make('h3', {}, make('span', { class: `method ${method}` }, method.toUpperCase()), make('code', {}, breakable(path))),
    operation.summary && make('p', {}, prose(operation.summary)));
  const says = make('div', { class: 'says' },
    operation.description && make('p', { class: 'soft' }, prose(operation.description)));
  const examples = make('div', { class: 'examples' });
  if (parameters.length) {
    says.append(part('Parameters', table(parameters.map((parameter) => ({
      name: parameter.name, where: parameter.in, required: parameter.required, schema: resolve(parameter.schema),
      says: parameter.description,
    })), 'Parameters')));
  }
  if (media) says.append(part(`Request: ${typeOf(media.schema)}`, table(fieldsOf(media.schema), 'Fields of the request')));
  examples.append(part('Example', snippet(curl(method, path, parameters, media, type), `Copy the example of ${path}`)));
  responses(operation, says, examples);
  const details = make('details', {}, summary, make('div', { class: 'route-columns' }, says, examples));
  return make('article', { class: 'card route', id, 'data-route': `${method} ${path}` }, details);
}

function show() {
  byId('title').textContent = api.info?.title ?? 'The API';
  byId('description').replaceChildren(...prose(api.info?.description));
  const groups = new Map((api.tags ?? []).map((tag) => [tag.name, { says: tag.description, routes: [] }]));
  for (const [path, item] of Object.entries(api.paths ?? {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? 'Other';
      if (!groups.has(tag)) groups.set(tag, { routes: [] });
      const id = `${method}-${path}`.replace(/[^a-z0-9]+/gi, '-').replace(/-$/, '');
      groups.get(tag).routes.push({ path, method, operation: item[method], shared: item.parameters ?? [], id });
    }
  }
  for (const [tag, { says, routes }] of groups) {
    if (!routes.length) continue;
    const id = `tag-${tag.replace(/[^a-z0-9]+/gi, '-')}`;
    byId('routes').append(make('section', { class: 'group', 'aria-labelledby': id },
      make('h2', { id }, tag), says && make('p', { class: 'soft' }, prose(says)), routes.map(route)));
    byId('contents').append(make('div', {}, make('a', { class: 'tag', href: `#${id}` }, tag),
      make('ul', {}, routes.map((one) => make('li', {}, make('a', { href: `#${one.id}` }, breakable(one.path)))))));
  }
}

/** Opens the route that the address names. */
function openNamed() {
  const details = location.hash && byId(location.hash.slice(1))?.querySelector('details');
  if (!details) return;
  details.open = true;
  details.scrollIntoView({ block: 'start' });
}

async function load() {
  try {
    const response = await fetch('openapi.json', { headers: { accept: 'application/json' } });
    if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
    api = await response.json();
    show();
    openNamed();
  } catch (error) {
    byId('error').textContent = `The description of the API could not be read. ${error.message}`;
  }
}

addEventListener('hashchange', openNamed);
load();
