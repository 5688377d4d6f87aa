"""Tests Haystack against a running server. Usage: haystack_package.py URL URL_OF_A_SERVER_WITH_A_KEY VECTORS.npy
VECTORS.npy has the vectors of `texts.py`."""

import asyncio
import logging
import sys
from importlib.metadata import version

import numpy
import openai
from haystack import Document, Pipeline
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
)
from huggingface_hub.errors import HfHubHTTPError

from checks import ID, KEY, SENTENCES, SOURCE, UNKNOWN, Checks
from texts import TEXTS

url, locked, vectors = sys.argv[1:]
expected = numpy.load(vectors)
checks = Checks(f"haystack-ai {version('haystack-ai')}")
# The document embedder logs each error as well.
logging.disable()


def through_openai(kind, base=url, model=ID, key="none", **options):
    return kind(api_base_url=f"{base}/v1", model=model, api_key=Secret.from_token(key), **options)


def through_tei(kind, base=url, key="none", **options):
    api = {"api_type": "text_embeddings_inference", "api_params": {"url": base}}
    return kind(**api, token=Secret.from_token(key), **options)


def documents(texts=TEXTS):
    return [Document(content=text) for text in texts]


def embeddings(answer):
    return [one.embedding for one in answer["documents"]]


def search(of_text, of_documents):
    """The scores of a pipeline, in the order of the published ones."""

    def check():
        store = InMemoryDocumentStore(embedding_similarity_function="cosine")
        store.write_documents(of_documents.run(documents(SENTENCES))["documents"])
        pipeline = Pipeline()
        pipeline.add_component("text", of_text)
        pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store))
        pipeline.connect("text.embedding", "retriever.query_embedding")
        found = pipeline.run({"text": {"text": SOURCE}})["retriever"]["documents"]
        scores = {one.content: one.score for one in found}
        return [scores[text] for text in SENTENCES]

    return check


def works(of_text, of_documents):
    text, several = type(of_text).__name__, type(of_documents).__name__
    checks.equals(f"{text}.run", lambda: of_text.run(SOURCE)["embedding"], expected[0])
    checks.equals(f"{text}.run, a long text", lambda: of_text.run(TEXTS[-1])["embedding"], expected[-1])
    checks.equals(f"{text}.run_async", lambda: asyncio.run(of_text.run_async(SOURCE))["embedding"], expected[0])
    checks.equals(f"{several}.run", lambda: embeddings(of_documents.run(documents())), expected)
    checks.scores(f"Pipeline({text}, InMemoryEmbeddingRetriever)", search(of_text, of_documents))


quiet = {"progress_bar": False}
works(through_openai(OpenAITextEmbedder), through_openai(OpenAIDocumentEmbedder, **quiet))
checks.equals(
    "OpenAIDocumentEmbedder(batch_size=200).run",
    lambda: embeddings(through_openai(OpenAIDocumentEmbedder, batch_size=200, **quiet).run(documents())),
    expected,
)
checks.equals(
    "OpenAITextEmbedder(dimensions=64).run",
    lambda: through_openai(OpenAITextEmbedder, dimensions=64).run(SOURCE)["embedding"],
    expected[0, :64] / numpy.linalg.norm(expected[0, :64]),
)
checks.raises(
    "OpenAITextEmbedder(model=one that is not served).run",
    lambda: through_openai(OpenAITextEmbedder, model=UNKNOWN).run(SOURCE),
    openai.NotFoundError,
    "not-served",
)
checks.raises(
    "OpenAIDocumentEmbedder(model=one that is not served, raise_on_failure=True).run",
    lambda: through_openai(OpenAIDocumentEmbedder, model=UNKNOWN, raise_on_failure=True, **quiet).run(documents()),
    openai.NotFoundError,
    "not-served",
)
checks.equals(
    "OpenAITextEmbedder with the right key",
    lambda: through_openai(OpenAITextEmbedder, locked, key=KEY).run(SOURCE)["embedding"],
    expected[0],
)
checks.equals(
    "OpenAITextEmbedder with the default model, which is an alias",
    lambda: OpenAITextEmbedder(api_base_url=f"{locked}/v1", api_key=Secret.from_token(KEY)).run(SOURCE)["embedding"],
    expected[0],
)
checks.raises(
    "OpenAITextEmbedder with a wrong key",
    lambda: through_openai(OpenAITextEmbedder, locked, key="wrong").run(SOURCE),
    openai.AuthenticationError,
    "API key",
)

checks.client = f"huggingface-api-haystack {version('huggingface-api-haystack')}"
unit = {"normalize": True}
works(through_tei(HuggingFaceAPITextEmbedder, **unit), through_tei(HuggingFaceAPIDocumentEmbedder, **unit, **quiet))


def default():
    # This client sends "normalize": false by default.
    got = numpy.array(through_tei(HuggingFaceAPITextEmbedder).run(SOURCE)["embedding"])
    return got / numpy.linalg.norm(got)


checks.equals("HuggingFaceAPITextEmbedder(normalize=False).run, scaled to length 1", default, expected[0])
checks.raises(
    "HuggingFaceAPITextEmbedder(URL/models/unknown).run",
    lambda: through_tei(HuggingFaceAPITextEmbedder, f"{url}/models/{UNKNOWN}").run(SOURCE),
    HfHubHTTPError,
    "not-served",
)
checks.equals(
    "HuggingFaceAPITextEmbedder with the right key",
    lambda: through_tei(HuggingFaceAPITextEmbedder, locked, KEY, **unit).run(SOURCE)["embedding"],
    expected[0],
)
checks.end()
