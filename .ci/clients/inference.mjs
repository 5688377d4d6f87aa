// Tests several versions of @huggingface/inference against a running server, in one process.
// Usage: inference.mjs URL URL_OF_A_SERVER_WITH_A_KEY
import { subscribe } from "node:diagnostics_channel";

const [url, locked] = process.argv.slice(2);
const SOURCE = "That is a happy person";
const SENTENCES = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"];
// The scores of the hosted API for all-MiniLM-L6-v2.
const PUBLISHED = [0.6945773363113403, 0.9429150819778442, 0.2568760812282562];
const ID = "sentence-transformers/all-MiniLM-L6-v2";
const UNKNOWN = "sentence-transformers/not-served";
const KEY = "a-key-of-this-test";
const snake = { source_sentence: SOURCE, sentences: SENTENCES };
const camel = { sourceSentence: SOURCE, sentences: SENTENCES };

let failed = false;
let client;
function line(call, got, ok) {
  failed ||= !ok;
  got = String(got).length < 400 ? got : `${String(got).slice(0, 400)}...`;
  console.log(`${client.padEnd(29)} ${call.padEnd(71)} ${got}  ${ok ? "ok" : "FAILED"}`);
}
async function holds(call, run) {
  try {
    line(call, ...(await run()));
  } catch (error) {
    line(call, String(error), false);
  }
}
const near = (got) => got.length === 3 && got.every((x, i) => Math.abs(x - PUBLISHED[i]) <= 1e-6);
const scores = (call, run) => holds(call, async () => {
  const got = await run();
  return [got.join(" "), near(got)];
});
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const vector = (call, run, length = 384) => holds(call, async () => {
  const got = await run();
  return [`${got.length} numbers`, got.length === length && Math.abs(dot(got, got) - 1) <= 1e-5];
});
const vectors = (call, run) => holds(call, async () => {
  const [source, ...sentences] = await run();
  const got = sentences.map((x) => dot(source, x));
  return [got.map((x) => x.toFixed(7)).join(" "), near(got)];
});
// The user must see the server's message as the error's message, not only somewhere in the error.
const fails = (call, words, run, status) => holds(call, async () => {
  try {
    return [`no error but ${JSON.stringify(await run())}`, false];
  } catch (error) {
    // Only the newest version adds to the message.
    const answer = error.httpResponse;
    const known =
      !answer || (answer.status === status && answer.requestId !== "" && error.message.includes(answer.body.error));
    return [error.message, error.message.includes(words) && known];
  }
});

const hosts = new Set();
subscribe("undici:client:beforeConnect", ({ connectParams }) => hosts.add(connectParams.hostname));

// Versions that contain the hosted API's address are redirected by their option `fetch`.
const asked = [];
const to = (server) => (address, init) => {
  const { pathname, search } = new URL(address);
  asked.push(`${init?.method ?? "GET"} ${pathname}${search}`);
  return fetch(server + pathname + search, init);
};
const here = { fetch: to(url) };
const there = { fetch: to(locked) };
const model = ID;

{
  client = "@huggingface/inference 1.8.0";
  const { HfInference } = await import("inference-1.8.0");
  // This version has neither the option nor sentenceSimilarity: users called featureExtraction for both tasks.
  const ours = fetch;
  const hf = new HfInference();
  globalThis.fetch = (address, init) => ours(url + new URL(address).pathname, init);
  await scores("featureExtraction({model: ID, inputs: sentences})", () => hf.featureExtraction({ model, inputs: snake }));
  await scores("featureExtraction(..., {wait_for_model, use_cache: false})", () =>
    hf.featureExtraction({ model, inputs: snake }, { wait_for_model: true, use_cache: false }));
  await vector("featureExtraction({model: ID, inputs: text})", () => hf.featureExtraction({ model, inputs: SOURCE }));
  await fails("featureExtraction({model: unknown})", "not-served", () => hf.featureExtraction({ model: UNKNOWN, inputs: SOURCE }));
  globalThis.fetch = ours;
}

// 2.6.4 is the last version with options in the body, 2.8.1 the last version of its line.
for (const version of ["2.6.4", "2.8.1"]) {
  client = `@huggingface/inference ${version}`;
  const { HfInference } = await import(`inference-${version}`);
  const hf = new HfInference();
  const options = { wait_for_model: true, use_cache: false };
  await scores("sentenceSimilarity({model: ID}), with fetch", () => hf.sentenceSimilarity({ model, inputs: snake }, here));
  await scores("sentenceSimilarity({model: ID}, options), with fetch", () =>
    hf.sentenceSimilarity({ model, inputs: snake }, { ...here, ...options }));
  await vector("featureExtraction({model: ID, inputs: text}), with fetch", () =>
    hf.featureExtraction({ model, inputs: SOURCE }, here));
  // This version warns that it is deprecated.
  const warn = console.warn;
  console.warn = () => {};
  await scores("sentenceSimilarity({model: URL})", () => hf.sentenceSimilarity({ model: url, inputs: snake }));
  await scores("sentenceSimilarity({model: URL}, options)", () => hf.sentenceSimilarity({ model: url, inputs: snake }, options));
  await fails("sentenceSimilarity({model: URL, no sentences})", "sentences", () =>
    hf.sentenceSimilarity({ model: url, inputs: { source_sentence: SOURCE, sentences: [] } }));
  console.warn = warn;
  const end = hf.endpoint(url);
  await scores("endpoint(URL).sentenceSimilarity({model: ID})", () => end.sentenceSimilarity({ model, inputs: snake }, here));
  await vectors("endpoint(URL).featureExtraction({model: ID, inputs: texts})", () =>
    end.featureExtraction({ model, inputs: [SOURCE, ...SENTENCES] }, here));
  const as = (token) => () => new HfInference(token).endpoint(locked).sentenceSimilarity({ model, inputs: snake }, there);
  await scores("with the right token", as(KEY));
  await fails("with a wrong token", "API key", as("wrong"));
}

// 3.1.3 uses /models/, 3.6.2 uses /pipeline/; both move the source to the parameters.
for (const version of ["3.1.3", "3.6.2"]) {
  client = `@huggingface/inference ${version}`;
  const { HfInference } = await import(`inference-${version}`);
  const hf = new HfInference();
  const end = hf.endpoint(url);
  await scores("sentenceSimilarity({model: ID}), with fetch", () => hf.sentenceSimilarity({ model, inputs: camel }, here));
  await scores("endpoint(URL).sentenceSimilarity(sourceSentence)", () => end.sentenceSimilarity({ model, inputs: camel }, here));
  await scores("endpoint(URL).sentenceSimilarity(source_sentence)", () => end.sentenceSimilarity({ model, inputs: snake }, here));
  await scores("endpointUrl: URL/models/ID", () =>
    hf.sentenceSimilarity({ model, endpointUrl: `${url}/models/${ID}`, inputs: camel }, here));
  await vector("endpoint(URL).featureExtraction({inputs: text, normalize})", () =>
    end.featureExtraction({ model, inputs: SOURCE, normalize: true }, here));
  await vector("featureExtraction({model: ID, inputs: text}), with fetch", () =>
    hf.featureExtraction({ model, inputs: SOURCE }, here));
  await fails("endpoint(URL).sentenceSimilarity(no sentences)", "sentences", () =>
    end.sentenceSimilarity({ model, inputs: { sourceSentence: SOURCE, sentences: [] } }, here));
  await fails("sentenceSimilarity({model: unknown}), with fetch", "not-served", () =>
    hf.sentenceSimilarity({ model: UNKNOWN, inputs: camel }, here));
}

for (const version of ["3.15.0", "4.13.30"]) {
  client = `@huggingface/inference ${version}`;
  const { InferenceClient, setLogger } = await import(`inference-${version}`);
  // This version logs the provider that it chose.
  setLogger?.({ ...console, log: () => {} });
  const log = console.log;
  const hf = new InferenceClient();
  const end = hf.endpoint(url);
  const quiet = async (run) => {
    // 3.15 has no logger to replace.
    if (!setLogger) console.log = () => {};
    try {
      return await run();
    } finally {
      console.log = log;
    }
  };
  await scores("endpoint(URL).sentenceSimilarity(source_sentence)", () => end.sentenceSimilarity({ inputs: snake }));
  await scores("endpoint(URL).sentenceSimilarity(sourceSentence)", () => end.sentenceSimilarity({ inputs: camel }));
  await scores("endpoint(URL).sentenceSimilarity({parameters})", () =>
    end.sentenceSimilarity({ inputs: snake, parameters: { truncate: true } }));
  await scores("endpoint(URL).sentenceSimilarity({model: ID})", () => end.sentenceSimilarity({ model, inputs: snake }));
  await scores("sentenceSimilarity({endpointUrl: URL/models/ID})", () =>
    hf.sentenceSimilarity({ endpointUrl: `${url}/models/${ID}`, inputs: snake }));
  await vector("endpoint(URL).featureExtraction({inputs: text})", () => end.featureExtraction({ inputs: SOURCE }));
  await holds("endpoint(URL).featureExtraction({inputs: text beyond ASCII})", async () => {
    const text = "Füße im 東京 😀";
    const hex = (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
    const escaped = JSON.stringify({ inputs: text }).replace(/[^\x00-\x7f]/g, hex);
    const [sent, expected, other] = [
      await end.featureExtraction({ inputs: text }),
      await (await fetch(url, { method: "POST", body: escaped })).json(),
      await end.featureExtraction({ inputs: "Fe im" }),
    ];
    const same = sent.every((x, i) => Math.abs(x - expected[i]) <= 1e-7);
    return [`the same vector: ${same}`, same && dot(sent, other) < 0.9];
  });
  await vectors("endpoint(URL).featureExtraction({inputs: texts, normalize})", () =>
    end.featureExtraction({ inputs: [SOURCE, ...SENTENCES], normalize: true }));
  await vector("endpoint(URL).featureExtraction({inputs: text, dimensions: 64})", () =>
    end.featureExtraction({ inputs: SOURCE, dimensions: 64 }), 64);
  await vectors("endpoint(URL/embed).featureExtraction({inputs: texts})", () =>
    hf.endpoint(`${url}/embed`).featureExtraction({ inputs: [SOURCE, ...SENTENCES] }));
  await holds("sentenceSimilarity({model: ID, provider}), with fetch", async () => {
    asked.length = 0;
    const got = await hf.sentenceSimilarity({ model, provider: "hf-inference", inputs: snake }, here);
    // Otherwise the client did not request the mapping, and the mapping is not tested.
    const right = [`GET /api/models/${ID}?`, "POST /hf-inference/"].every((start) => asked.some((x) => x.startsWith(start)));
    return [`${got.join(" ")} (${asked.join(", ")})`, near(got) && right];
  });
  await vector("featureExtraction({model: ID, provider}), with fetch", () =>
    hf.featureExtraction({ model, provider: "hf-inference", inputs: SOURCE }, here));
  await fails("endpoint(URL).sentenceSimilarity(no sentences)", "sentences", () =>
    end.sentenceSimilarity({ inputs: { source_sentence: SOURCE, sentences: [] } }), 400);
  await fails("endpoint(URL/models/unknown).featureExtraction", "not-served", () =>
    hf.endpoint(`${url}/models/${UNKNOWN}`).featureExtraction({ inputs: SOURCE }), 404);
  await fails("sentenceSimilarity({model: unknown, provider}), with fetch", "not-served", () =>
    hf.sentenceSimilarity({ model: UNKNOWN, provider: "hf-inference", inputs: snake }, here), 404);
  const as = (token) => () => new InferenceClient(token).endpoint(locked).sentenceSimilarity({ inputs: snake });
  await scores("with the right token", as(KEY));
  await fails("with a wrong token", "API key", as("hf_wrong"), 401);
  // This request always uses the global fetch, and its response is cached for the whole process.
  const ours = fetch;
  globalThis.fetch = (address, init) => ours(url + new URL(address).pathname, init);
  await scores("sentenceSimilarity({provider}), the recommended model", () =>
    quiet(() => hf.sentenceSimilarity({ provider: "hf-inference", inputs: snake })));
  await scores("sentenceSimilarity({model: ID}), any provider", () =>
    quiet(() => hf.sentenceSimilarity({ model, inputs: snake })));
  globalThis.fetch = ours;
}

client = "@huggingface/inference";
const others = [...hosts].filter((host) => host !== "127.0.0.1");
line("reached this host and no other", [...hosts].join(" "), hosts.size > 0 && others.length === 0);
process.exit(failed ? 1 : 0);
