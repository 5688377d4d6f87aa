"""Tests LangChain against a running server. Usage: langchain_package.py URL URL_OF_A_SERVER_WITH_A_KEY VECTORS.npy
VECTORS.npy has the vectors of `texts.py`. TIKTOKEN_CACHE_DIR must contain the encoding cl100k_base."""

import asyncio
import sys
from importlib.metadata import version

import numpy
import openai
from huggingface_hub import AsyncInferenceClient, InferenceClient
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from langchain_openai import OpenAIEmbeddings

from checks import ID, KEY, SENTENCES, SOURCE, UNKNOWN, Checks
from texts import TEXTS

url, locked, vectors = sys.argv[1:]
expected = numpy.load(vectors)
checks = Checks(f"langchain-openai {version('langchain-openai')}")


def client(base=url, model=ID, api_key="none", **options):
    """Without options, LangChain's defaults: it sends tiktoken's ids instead of texts."""
    return OpenAIEmbeddings(base_url=f"{base}/v1", model=model, api_key=api_key, **options)


def texts(**options):
    return client(check_embedding_ctx_length=False, **options)


def search(embeddings):
    """The scores of a search, in the order of the published ones."""

    def check():
        store = InMemoryVectorStore(embeddings)
        store.add_texts(SENTENCES)
        found = {one.page_content: score for one, score in store.similarity_search_with_score(SOURCE, k=3)}
        return [found[text] for text in SENTENCES]

    return check


setting = "check_embedding_ctx_length=False"
checks.raises("OpenAIEmbeddings().embed_query", lambda: client().embed_query(SOURCE), openai.BadRequestError, setting)
checks.raises(
    "OpenAIEmbeddings().embed_documents", lambda: client().embed_documents(TEXTS), openai.BadRequestError, setting
)
checks.raises(
    "OpenAIEmbeddings().aembed_query",
    lambda: asyncio.run(client().aembed_query(SOURCE)),
    openai.BadRequestError,
    setting,
)
checks.equals(f"OpenAIEmbeddings({setting}).embed_query", lambda: texts().embed_query(SOURCE), expected[0])
checks.equals(f"OpenAIEmbeddings({setting}).embed_documents", lambda: texts().embed_documents(TEXTS), expected)
checks.equals(
    f"OpenAIEmbeddings({setting}, chunk_size=16).embed_documents",
    lambda: texts(chunk_size=16).embed_documents(TEXTS),
    expected,
)
checks.equals(
    f"OpenAIEmbeddings({setting}).aembed_documents", lambda: asyncio.run(texts().aembed_documents(TEXTS)), expected
)
shorter = expected[:, :64] / numpy.linalg.norm(expected[:, :64], axis=1, keepdims=True)
checks.equals(
    f"OpenAIEmbeddings({setting}, dimensions=64).embed_documents",
    lambda: texts(dimensions=64).embed_documents(TEXTS),
    shorter,
)
checks.scores(f"InMemoryVectorStore(OpenAIEmbeddings({setting}))", search(texts()))
checks.raises(
    f"OpenAIEmbeddings({setting}, model=one that is not served)",
    lambda: texts(model=UNKNOWN).embed_query(SOURCE),
    openai.NotFoundError,
    "not-served",
)
checks.equals("with the right key", lambda: texts(base=locked, api_key=KEY).embed_query(SOURCE), expected[0])
checks.equals(
    "with the default model, which is an alias",
    lambda: OpenAIEmbeddings(base_url=f"{locked}/v1", api_key=KEY, check_embedding_ctx_length=False).embed_documents(
        TEXTS
    ),
    expected,
)
checks.raises(
    "with a wrong key",
    lambda: texts(base=locked, api_key="wrong").embed_query(SOURCE),
    openai.AuthenticationError,
    "API key",
)

checks.client = f"langchain-huggingface {version('langchain-huggingface')}"
if version("langchain-huggingface") == "1.2.0":
    # The last version whose `model` may be a URL.
    call, endpoint = "HuggingFaceEndpointEmbeddings(model=URL)", HuggingFaceEndpointEmbeddings(model=url)
else:
    # `model` must be a repository id, which always means Hugging Face's own servers. The clients can be replaced.
    call, endpoint = "HuggingFaceEndpointEmbeddings with InferenceClient(URL)", HuggingFaceEndpointEmbeddings(model=ID)
    endpoint.client, endpoint.async_client = InferenceClient(url), AsyncInferenceClient(url)
checks.equals(f"{call}.embed_query", lambda: endpoint.embed_query(SOURCE), expected[0])
checks.equals(f"{call}.embed_documents", lambda: endpoint.embed_documents(TEXTS), expected)
checks.equals(f"{call}.aembed_documents", lambda: asyncio.run(endpoint.aembed_documents(TEXTS)), expected)
checks.scores(f"InMemoryVectorStore({call})", search(endpoint))
checks.end()
