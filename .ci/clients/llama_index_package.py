"""Tests LlamaIndex against a running server. Usage: llama_index_package.py URL URL_OF_A_SERVER_WITH_A_KEY VECTORS.npy
VECTORS.npy has the vectors of `texts.py`."""

import asyncio
import logging
import sys
from importlib.metadata import version

import numpy
import openai
from huggingface_hub.errors import HfHubHTTPError
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.huggingface_api import HuggingFaceInferenceAPIEmbedding
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

from checks import ID, KEY, SENTENCES, SOURCE, UNKNOWN, Checks
from texts import TEXTS

url, locked, vectors = sys.argv[1:]
expected = numpy.load(vectors)
checks = Checks(f"llama-index-core {version('llama-index-core')}")
shorter = expected[:, :64] / numpy.linalg.norm(expected[:, :64], axis=1, keepdims=True)


def search(model):
    """The scores of a search, in the order of the published ones."""

    def check():
        index = VectorStoreIndex([TextNode(text=text) for text in SENTENCES], embed_model=model)
        found = {one.text: one.score for one in index.as_retriever(similarity_top_k=3).retrieve(SOURCE)}
        return [found[text] for text in SENTENCES]

    return check


def works(name, model):
    checks.equals(f"{name}.get_query_embedding", lambda: model.get_query_embedding(SOURCE), expected[0])
    checks.equals(f"{name}.get_text_embedding", lambda: model.get_text_embedding(TEXTS[-1]), expected[-1])
    checks.equals(f"{name}.get_text_embedding_batch", lambda: model.get_text_embedding_batch(TEXTS), expected)
    checks.equals(
        f"{name}.aget_text_embedding_batch", lambda: asyncio.run(model.aget_text_embedding_batch(TEXTS)), expected
    )
    checks.scores(f"VectorStoreIndex({name})", search(model))


for kind in (OpenAIEmbedding, OpenAILikeEmbedding):
    name = kind.__name__

    def openai_client(base=url, model_name=ID, api_key="none", kind=kind, **options):
        return kind(api_base=f"{base}/v1", model_name=model_name, api_key=api_key, **options)

    works(name, openai_client())
    checks.equals(
        f"{name}(dimensions=64).get_text_embedding_batch",
        lambda: openai_client(dimensions=64).get_text_embedding_batch(TEXTS),
        shorter,
    )
    checks.raises(
        f"{name}(model_name=one that is not served)",
        lambda: openai_client(model_name=UNKNOWN).get_query_embedding(SOURCE),
        openai.NotFoundError,
        "not-served",
    )
    checks.equals(
        f"{name} with the right key",
        lambda: openai_client(locked, api_key=KEY).get_query_embedding(SOURCE),
        expected[0],
    )
    checks.raises(
        f"{name} with a wrong key",
        lambda: openai_client(locked, api_key="wrong").get_query_embedding(SOURCE),
        openai.AuthenticationError,
        "API key",
    )

checks.equals(
    "OpenAIEmbedding with the default model, which is an alias",
    lambda: OpenAIEmbedding(api_base=f"{locked}/v1", api_key=KEY).get_query_embedding(SOURCE),
    expected[0],
)
works("TextEmbeddingsInference", TextEmbeddingsInference(model_name=ID, base_url=url))
checks.equals(
    "TextEmbeddingsInference with the right key",
    lambda: TextEmbeddingsInference(model_name=ID, base_url=locked, auth_token=KEY).get_query_embedding(SOURCE),
    expected[0],
)


def endpoint(model_name=url, **options):
    # `model_name` may be a URL; a repository id always means Hugging Face's own servers.
    return HuggingFaceInferenceAPIEmbedding(model_name=model_name, **options)


# Each call of this client has its own event loop, so an object is for one call only. It closes its connections too late, which
# asyncio logs.
logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
name = "HuggingFaceInferenceAPIEmbedding(URL)"
checks.equals(f"{name}.get_query_embedding", lambda: endpoint().get_query_embedding(SOURCE), expected[0])
checks.equals(
    f"{name}.get_text_embedding_batch", lambda: endpoint(embed_batch_size=200).get_text_embedding_batch(TEXTS), expected
)
checks.equals(
    f"{name}.aget_text_embedding_batch", lambda: asyncio.run(endpoint().aget_text_embedding_batch(TEXTS)), expected
)
checks.equals(
    "HuggingFaceInferenceAPIEmbedding(URL/models/ID).get_query_embedding",
    lambda: endpoint(f"{url}/models/{ID}").get_query_embedding(SOURCE),
    expected[0],
)
checks.raises(
    "HuggingFaceInferenceAPIEmbedding(URL/models/unknown).get_query_embedding",
    lambda: endpoint(f"{url}/models/{UNKNOWN}").get_query_embedding(SOURCE),
    HfHubHTTPError,
    "not-served",
)
checks.equals(
    f"{name} with the right key", lambda: endpoint(locked, token=KEY).get_query_embedding(SOURCE), expected[0]
)
checks.end()
