"""Tests LiteLLM against a running server. Usage: litellm_package.py URL URL_OF_A_SERVER_WITH_A_KEY VECTORS.npy
VECTORS.npy has the vectors of `texts.py`."""

import asyncio
import base64
import sys
import warnings
from importlib.metadata import version

import litellm
import numpy

from checks import ID, KEY, SENTENCES, SOURCE, UNKNOWN, Checks
from texts import TEXTS

url, locked, vectors = sys.argv[1:]
expected = numpy.load(vectors)
shorter = expected[:, :64] / numpy.linalg.norm(expected[:, :64], axis=1, keepdims=True)
checks = Checks(f"litellm {version('litellm')}")
# Otherwise each error also prints where to report it.
litellm.suppress_debug_info = True
# LiteLLM's own type of an embedding has no base64.
warnings.filterwarnings("ignore", "Pydantic serializer warnings")


def matrix(answer):
    assert [one["index"] for one in answer.data] == list(range(len(answer.data)))
    return [one["embedding"] for one in answer.data]


def embedding(model=f"openai/{ID}", base=f"{url}/v1", api_key="none", input=TEXTS, **options):
    return litellm.embedding(model, input=input, api_base=base, api_key=api_key, **options)


checks.equals("embedding(openai/ID)", lambda: matrix(embedding()), expected)
checks.equals("embedding(openai/ID, one text)", lambda: matrix(embedding(input=SOURCE)), expected[:1])
checks.equals(
    "aembedding(openai/ID)",
    lambda: matrix(asyncio.run(litellm.aembedding(f"openai/{ID}", input=TEXTS, api_base=f"{url}/v1", api_key="none"))),
    expected,
)
checks.equals(
    "embedding(openai/ID, encoding_format='base64')",
    lambda: [
        numpy.frombuffer(base64.b64decode(text), dtype="<f4") for text in matrix(embedding(encoding_format="base64"))
    ],
    expected,
)
# LiteLLM knows which of OpenAI's models take dimensions, and has to be told about others.
checks.equals(
    "embedding(openai/ID, dimensions=64, allowed_openai_params=['dimensions'])",
    lambda: matrix(embedding(dimensions=64, allowed_openai_params=["dimensions"])),
    shorter,
)


def usage():
    answer = embedding(input=[SOURCE, *SENTENCES])
    # [CLS], the words, [SEP]: 7 + 7 + 8 + 7.
    return answer.usage, (answer.usage.prompt_tokens, answer.usage.total_tokens, answer.model) == (29, 29, ID)


checks.holds("embedding(openai/ID).usage", usage)
checks.raises(
    "embedding(openai/one that is not served)",
    lambda: embedding(model=f"openai/{UNKNOWN}"),
    litellm.NotFoundError,
    "not-served",
)
checks.raises("embedding(openai/ID, input=[])", lambda: embedding(input=[]), litellm.BadRequestError, "input")
checks.equals(
    "embedding(openai/ID) with the right key", lambda: matrix(embedding(base=f"{locked}/v1", api_key=KEY)), expected
)
checks.raises(
    "embedding(openai/ID) with a wrong key",
    lambda: embedding(base=f"{locked}/v1", api_key="wrong"),
    litellm.AuthenticationError,
    "API key",
)
checks.equals(
    "embedding(openai/alias, dimensions=64)",
    lambda: matrix(embedding("openai/text-embedding-3-small", f"{locked}/v1", KEY, dimensions=64)),
    shorter,
)
# Other names for servers with OpenAI's routes.
for provider, base in (("hosted_vllm", f"{url}/v1"), ("lm_studio", f"{url}/v1"), ("infinity", url)):
    checks.equals(f"embedding({provider}/ID)", lambda: matrix(embedding(f"{provider}/{ID}", base)), expected)


def router():
    options = {"model": f"openai/{ID}", "api_base": f"{url}/v1", "api_key": "none"}
    return litellm.Router([{"model_name": "sentences", "litellm_params": options}])


checks.equals("Router.embedding", lambda: matrix(router().embedding("sentences", input=TEXTS)), expected)

# The routes of text-embeddings-inference and of the Inference API. Without input_type, LiteLLM asks the hub for the task.
# It requests scores for each model whose name contains "sentence-transformers".
short = ID.split("/")[1]
checks.equals(
    "embedding(huggingface/NAME, URL/embed, input_type='embed')",
    lambda: matrix(embedding(f"huggingface/{short}", f"{url}/embed", input_type="embed")),
    expected,
)
checks.equals(
    "embedding(huggingface/NAME, URL/models/ID, input_type='feature-extraction')",
    lambda: matrix(embedding(f"huggingface/{short}", f"{url}/models/{ID}", input_type="feature-extraction")),
    expected,
)
for model, path, task in (
    (ID, f"/models/{ID}", "sentence-similarity"),
    (short, "/similarity", "similarity"),
    (short, "", "sentence-similarity"),
):
    checks.scores(
        f"embedding(huggingface/{model}, URL{path}, input_type='{task}')",
        lambda: matrix(embedding(f"huggingface/{model}", f"{url}{path}", input=[SOURCE, *SENTENCES], input_type=task)),
    )
checks.raises(
    "embedding(huggingface/NAME, URL/models/unknown, input_type='feature-extraction')",
    lambda: embedding(f"huggingface/{short}", f"{url}/models/{UNKNOWN}", input_type="feature-extraction"),
    litellm.APIError,
    "not-served",
)
checks.equals(
    "embedding(huggingface/NAME, URL/embed) with the right key",
    lambda: matrix(embedding(f"huggingface/{short}", f"{locked}/embed", KEY, input_type="embed")),
    expected,
)
# After a response of huggingface/, LiteLLM also asks the hub for the model's maximum length, and ignores the error.
checks.end(tried=["huggingface.co"])
