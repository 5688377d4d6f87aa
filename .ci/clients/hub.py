"""Tests one version of huggingface_hub against a running server. Usage: hub.py URL URL_OF_A_SERVER_WITH_A_KEY
HF_ENDPOINT and HF_INFERENCE_ENDPOINT must be URL: they redirect the client's requests to the hub, and to models named by
repository id."""

import asyncio
import inspect
import json
import os
import sys
import urllib.request
import warnings

import huggingface_hub
from huggingface_hub import constants

from checks import ID, KEY, SENTENCES, SOURCE, UNKNOWN, Checks, near

url, locked = sys.argv[1:]
version = tuple(int(x) for x in huggingface_hub.__version__.split(".")[:2])
checks = Checks(f"huggingface_hub {huggingface_hub.__version__}")
# From 0.29 on the URL of models named by id is a constant that no environment variable changes. The client reads it when it
# is imported, so the constant is replaced before that. The client itself is unmodified.
if version >= (0, 29):
    constants.INFERENCE_PROXY_TEMPLATE = url + "/{provider}"
# InferenceApi warns at every call that it is deprecated, and about tasks other than the model's first.
warnings.simplefilter("ignore")
huggingface_hub.logging.set_verbosity_error()

from huggingface_hub import InferenceClient  # noqa: E402

has = inspect.signature(InferenceClient.__init__).parameters
takes = inspect.signature(InferenceClient.feature_extraction).parameters
# Since 0.31 the default is any provider; these calls need hf-inference.
ours = {"provider": "hf-inference"} if "provider" in has else {}
model_url = f"{url}/models/{ID}"


def sentence_of(error):
    return error.response.json()["error"]


def similar(**client):
    return lambda: InferenceClient(**client).sentence_similarity(SOURCE, SENTENCES)


checks.scores("InferenceClient(URL).sentence_similarity", similar(model=url))
checks.scores("InferenceClient(URL/models/ID).sentence_similarity", similar(model=model_url))
# 0.28 accepts a base_url and ignores it.
if "base_url" in has and version != (0, 28):
    checks.scores("InferenceClient(base_url=URL/models/ID).sentence_similarity", similar(base_url=model_url))
if ours:
    checks.scores("InferenceClient(URL, provider='hf-inference').sentence_similarity", similar(model=url, **ours))
if "headers" in has:
    checks.scores(
        "InferenceClient(URL, headers={'X-Use-Cache': '0', ...}).sentence_similarity",
        similar(model=url, headers={"X-Use-Cache": "0", "X-Wait-For-Model": "1"}),
    )
checks.scores("InferenceClient(URL/similarity).sentence_similarity", similar(model=f"{url}/similarity"))

client = InferenceClient(url)


def beyond_ascii():
    text, got = "Füße im 東京 😀", client.feature_extraction("Füße im 東京 😀")
    # Some versions send UTF-8, others escapes with surrogate pairs. Both must give the same text, and not the text without
    # its characters beyond ASCII.
    bodies = [json.dumps({"inputs": text}, ensure_ascii=escaped).encode() for escaped in (True, False)]
    answers = [json.load(urllib.request.urlopen(url, body)) for body in bodies]
    same = all(float(abs(got - answer).max()) <= 1e-7 for answer in answers)
    other = float(got @ client.feature_extraction("Fe im"))
    return f"the same vector: {same}", same and other < 0.9


if version < (0, 16):
    # These versions keep the first element of the response, which is the vector only if one text gives a list of one.
    checks.vector(
        "InferenceClient(URL/embed).feature_extraction(text)",
        lambda: InferenceClient(f"{url}/embed").feature_extraction(SOURCE),
    )
else:
    checks.vector("feature_extraction(text)", lambda: client.feature_extraction(SOURCE))
    checks.holds("feature_extraction(text beyond ASCII)", beyond_ascii)
    checks.vectors("feature_extraction(list of texts)", lambda: client.feature_extraction([SOURCE, *SENTENCES]))
    checks.vectors(
        "InferenceClient(URL/embed).feature_extraction(list of texts)",
        lambda: InferenceClient(f"{url}/embed").feature_extraction([SOURCE, *SENTENCES]),
    )
if "normalize" in takes:
    checks.vector(
        "feature_extraction(normalize, truncate)",
        lambda: client.feature_extraction(SOURCE, normalize=True, truncate=True),
    )

    def without_normalize():
        unit, other = (client.feature_extraction(SOURCE, normalize=n) for n in (True, False))
        length = float(other @ other) ** 0.5
        # all-MiniLM-L6-v2 ends with a Normalize module, which is skipped.
        return f"length {length:.4f}", abs(length - 1) > 0.01 and abs(float(unit @ other) / length - 1) <= 1e-6

    checks.holds("feature_extraction(normalize=False)", without_normalize)
    # Older versions capitalize the values of this option.
    left, right = ("left", "right") if version >= (1, 0) else ("Left", "Right")
    middle = "and so on " * 300

    def side(direction, texts):
        a, b = (client.feature_extraction(t, truncate=True, truncation_direction=direction) for t in texts)
        same = float(abs(a - b).max()) == 0
        return f"the same vector: {same}", same

    # The texts differ only on the side that is cut, so their vectors are equal.
    checks.holds(
        f"feature_extraction(truncation_direction={left!r})",
        lambda: side(left, [f"the dog {middle} sleeps", f"a cat {middle} sleeps"]),
    )
    checks.holds(
        f"feature_extraction(truncation_direction={right!r})",
        lambda: side(right, [f"the dog {middle} sleeps", f"the dog {middle} eats"]),
    )
    checks.fails(
        "feature_extraction(truncate=False) of a long text",
        lambda: client.feature_extraction(middle, truncate=False),
        422,
        "256",
        sentence_of,
    )
    checks.fails(
        "feature_extraction(prompt_name) that the model has not",
        lambda: client.feature_extraction(SOURCE, prompt_name="no-such-prompt"),
        422,
        "no-such-prompt",
        sentence_of,
    )
if "dimensions" in takes:
    checks.vector(
        "feature_extraction(dimensions=64, encoding_format='float')",
        lambda: client.feature_extraction(SOURCE, dimensions=64, encoding_format="float"),
        64,
    )
    checks.fails(
        "feature_extraction(dimensions=4096)",
        lambda: client.feature_extraction(SOURCE, dimensions=4096),
        422,
        "384",
        sentence_of,
    )

# 0.28 contains the hosted API's address, so models named by id cannot be redirected.
if version != (0, 28):
    checks.scores("InferenceClient(ID).sentence_similarity", similar(model=ID))
    checks.scores("InferenceClient().sentence_similarity, the recommended model", similar(**ours))
    if version >= (0, 16):
        checks.vector("InferenceClient(ID).feature_extraction", lambda: InferenceClient(ID).feature_extraction(SOURCE))
    if ours:
        checks.scores("InferenceClient(ID, provider='hf-inference').sentence_similarity", similar(model=ID, **ours))
    checks.fails(
        "InferenceClient(an unknown ID).sentence_similarity", similar(model=UNKNOWN), 404, "not-served", sentence_of
    )

if version < (1, 0):
    from huggingface_hub.inference_api import InferenceApi

    inputs = {"source_sentence": SOURCE, "sentences": SENTENCES}
    checks.scores("InferenceApi(ID)(inputs)", lambda: InferenceApi(ID)(inputs))
    checks.holds(
        "InferenceApi(ID, task='feature-extraction')(text)",
        lambda: (lambda v: (f"{len(v)} numbers", len(v) == 384))(InferenceApi(ID, task="feature-extraction")(SOURCE)),
    )
    checks.holds(
        "InferenceApi(ID)(no sentences)",
        lambda: (lambda a: (a, "error" in a))(InferenceApi(ID)({"source_sentence": SOURCE})),
    )

if hasattr(InferenceClient, "get_endpoint_info"):

    def endpoint_info(model):
        info = InferenceClient(model=model, **ours).get_endpoint_info()
        # A URL without a model means the server's first model.
        expected = ("sentence-transformers/all-mpnet-base-v2" if model == url else ID, 256)
        return info["model_id"], (info["model_id"], info["max_input_length"]) == expected

    def healthy(model):
        found = InferenceClient(model=model, **ours).health_check()
        return found, found is True

    for what, model in {"URL": url, "URL/models/ID": model_url, "ID": ID}.items():
        checks.holds(f"InferenceClient({what}).get_endpoint_info", lambda: endpoint_info(model))
    for what, model in {"URL": url, "URL/models/ID": model_url}.items():
        checks.holds(f"InferenceClient({what}).health_check", lambda: healthy(model))
if hasattr(InferenceClient, "get_model_status"):

    def status():
        # The client raises an error if one of the four keys is missing.
        found = InferenceClient(model=ID, **ours).get_model_status()
        return found, (found.loaded, found.state, found.framework) == (True, "Loaded", "sentence-transformers")

    checks.holds("get_model_status", status)

if version >= (1, 28):
    # A registry in another format would make every call of the client fail for a day.
    def harnesses():
        with open(os.path.join(constants.HF_HOME, ".agent_harnesses.json")) as file:
            kept = json.load(file)
        return kept, kept == {"standardEnvVars": [], "harnesses": {}}

    checks.holds("GET /api/agent-harnesses, as kept by the client", harnesses)

checks.fails(
    "sentence_similarity(source, [])", lambda: client.sentence_similarity(SOURCE, []), 400, "sentences", sentence_of
)
checks.fails(
    "InferenceClient(URL/models/unknown).sentence_similarity",
    similar(model=f"{url}/models/{UNKNOWN}"),
    404,
    "not-served",
    sentence_of,
)
checks.fails(
    "InferenceClient(URL/pipeline/summarization/ID).feature_extraction",
    lambda: InferenceClient(f"{url}/pipeline/summarization/{ID}").feature_extraction(SOURCE),
    404,
    "summarization",
    sentence_of,
)

checks.scores("with the right token", similar(model=locked, token=KEY))
checks.fails("with a wrong token", similar(model=locked, token="hf_wrong"), 401, "API key", sentence_of)
checks.fails("without a token", similar(model=locked), 401, "API key", sentence_of)

if version >= (0, 30):
    from huggingface_hub import AsyncInferenceClient

    async def both(call):
        made = AsyncInferenceClient(url)
        return await asyncio.gather(call(made), call(made))

    def at_once():
        first, second = asyncio.run(both(lambda c: c.sentence_similarity(SOURCE, SENTENCES)))
        return " ".join(f"{x:.7g}" for x in first), near(first) and first == second

    checks.holds("AsyncInferenceClient(URL).sentence_similarity, twice at once", at_once)
    checks.holds(
        "AsyncInferenceClient(URL).feature_extraction",
        lambda: (lambda v: (v.shape, v.shape == (384,)))(
            asyncio.run(AsyncInferenceClient(url).feature_extraction(SOURCE))
        ),
    )
    if version >= (1, 0):
        checks.fails(
            "AsyncInferenceClient(URL).sentence_similarity(source, [])",
            lambda: asyncio.run(AsyncInferenceClient(url).sentence_similarity(SOURCE, [])),
            400,
            "sentences",
            sentence_of,
        )

checks.end()
