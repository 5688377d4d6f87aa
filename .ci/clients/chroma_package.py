"""Tests Chroma's embedding functions against a running server, in a collection in memory.
Usage: chroma_package.py URL URL_OF_A_SERVER_WITH_A_KEY VECTORS.npy
VECTORS.npy has the vectors of `texts.py`."""

import sys
import warnings

import chromadb
import numpy
import openai
from chromadb.utils.embedding_functions import HuggingFaceEmbeddingServer, OpenAIEmbeddingFunction

from checks import ID, KEY, SENTENCES, SOURCE, UNKNOWN, Checks
from texts import TEXTS

url, locked, vectors = sys.argv[1:]
expected = numpy.load(vectors)
checks = Checks(f"chromadb {chromadb.__version__}")
# Both functions warn that a key in the code is not stored.
warnings.simplefilter("ignore", DeprecationWarning)
database = chromadb.EphemeralClient()


def openai_function(base=url, model_name=ID, api_key="none", **options):
    return OpenAIEmbeddingFunction(api_base=f"{base}/v1", model_name=model_name, api_key=api_key, **options)


def collection(name, function, texts):
    made = database.create_collection(name, embedding_function=function, configuration={"hnsw": {"space": "cosine"}})
    made.add(ids=[str(n) for n in range(len(texts))], documents=texts)
    return made


functions = {
    "OpenAIEmbeddingFunction": openai_function(),
    "HuggingFaceEmbeddingServer": HuggingFaceEmbeddingServer(f"{url}/embed"),
}
for name, function in functions.items():
    checks.equals(f"{name}(texts)", lambda: function(TEXTS), expected)
    many = collection(f"many-{name}", function, TEXTS)

    def stored():
        found = many.get(include=["embeddings"])
        return [found["embeddings"][found["ids"].index(str(n))] for n in range(len(TEXTS))]

    checks.equals(f"Collection({name}).add and get", stored, expected)

    def nearest():
        # The nearest neighbour of each text, by the command's vectors, except for the text itself.
        products = expected @ expected.T - 2 * numpy.eye(len(TEXTS))
        found = many.query(query_texts=TEXTS, n_results=2)["ids"]
        right = [ids == [str(n), str(products[n].argmax())] for n, ids in enumerate(found)]
        return f"{sum(right)} of {len(right)} texts", all(right)

    checks.holds(f"Collection({name}).query, the nearest neighbours", nearest)

    def scores():
        found = collection(f"few-{name}", function, SENTENCES).query(query_texts=[SOURCE], n_results=3)
        near = {text: 1 - distance for text, distance in zip(found["documents"][0], found["distances"][0])}
        return [near[text] for text in SENTENCES]

    checks.scores(f"Collection({name}).query, 1 - distance", scores)

checks.raises(
    "OpenAIEmbeddingFunction(model_name=one that is not served)",
    lambda: openai_function(model_name=UNKNOWN)(SENTENCES),
    openai.NotFoundError,
    "not-served",
)
checks.raises(
    "Collection(OpenAIEmbeddingFunction(model_name=one that is not served)).add",
    lambda: collection("not-served", openai_function(model_name=UNKNOWN), SENTENCES),
    openai.NotFoundError,
    "not-served",
)
checks.equals(
    "OpenAIEmbeddingFunction with the right key", lambda: openai_function(locked, api_key=KEY)(TEXTS), expected
)
# Chroma sends dimensions only for models with this name.
checks.equals(
    "OpenAIEmbeddingFunction(model_name=alias, dimensions=64)",
    lambda: openai_function(locked, "text-embedding-3-small", KEY, dimensions=64)(TEXTS),
    expected[:, :64] / numpy.linalg.norm(expected[:, :64], axis=1, keepdims=True),
)
checks.raises(
    "OpenAIEmbeddingFunction with a wrong key",
    lambda: openai_function(locked, api_key="wrong")(TEXTS),
    openai.AuthenticationError,
    "API key",
)
checks.equals(
    "HuggingFaceEmbeddingServer with the right key",
    lambda: HuggingFaceEmbeddingServer(f"{locked}/embed", api_key=KEY)(TEXTS),
    expected,
)
checks.end()
