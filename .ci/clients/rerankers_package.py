"""Tests clients of rerankers and classifiers against a running server. Usage: rerankers_package.py URL URL_OF_A_SERVER_WITH_A_KEY
The models are `org/reranker` and `org/classifier` of small_models.py, and ID, which computes embeddings."""

import json
import struct
import sys
from importlib.metadata import version

import cohere
import numpy
import requests
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank as LlamaCohereRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from checks import ID, KEY, UNKNOWN, Checks, near
from small_models import FIXTURES, MODELS, golden


def logits(kind):
    """The numbers that sentence-transformers computes for the pairs, [pairs, labels]."""
    file, name = MODELS[kind]
    data = (FIXTURES / f"goldens/{file}.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    entry = json.loads(data[8 : 8 + length])[f"{name}.logits"]
    start, end = entry["data_offsets"]
    types = {"F32": "<f4", "F64": "<f8"}
    rows = numpy.frombuffer(data[8 + length :][start:end], types[entry["dtype"]]).astype(numpy.float64)
    return rows.reshape(len(golden(file)["pairs"]), -1)


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def softmax(x):
    return numpy.exp(x) / numpy.exp(x).sum(axis=-1, keepdims=True)


url, locked = sys.argv[1:]
checks = Checks(f"cohere {version('cohere')}")
pairs = golden("cross-encoders")["pairs"]
query = pairs[0][0]
count = sum(first == query for first, _ in pairs)
# The worst text is the first one, so that the order of the response is not that of the request.
numbers = logits("reranker")[:count, 0]
order = numbers.argsort()
texts = [pairs[i][1] for i in order]
scores = [float(x) for x in sigmoid(numbers[order])]
best_first = sorted(range(len(texts)), key=lambda i: -scores[i])
labels = ["contradiction", "entailment", "neutral"]


def ranks(call, function):
    """Checks pairs of an index and a score: all texts, the best first."""

    def check():
        got = [(int(index), float(score)) for index, score in function()]
        good = [index for index, _ in got] == best_first
        return got, good and near([score for _, score in got], [scores[i] for i in best_first])

    checks.holds(call, check)


def results(response):
    return [(one.index, one.relevance_score) for one in response.results]


def cohere_client(kind, base=url, key="none"):
    return kind(api_key=key, base_url=base)


for kind in (cohere.Client, cohere.ClientV2):
    name = f"cohere.{kind.__name__}"

    def rank(base=url, key="none", kind=kind, model="org/reranker", **options):
        return cohere_client(kind, base, key).rerank(model=model, query=query, documents=texts, **options)

    ranks(f"{name}.rerank", lambda: results(rank()))
    ranks(f"{name}.rerank with the right key", lambda: results(rank(locked, KEY)))
    checks.holds(
        f"{name}.rerank(top_n=1)",
        lambda rank=rank: ((got := results(rank(top_n=1))), [index for index, _ in got] == best_first[:1]),
    )
    checks.raises(
        f"{name}.rerank with a wrong key",
        lambda: rank(locked, "wrong"),
        cohere.errors.UnauthorizedError,
        "API key",
    )
    checks.raises(
        f"{name}.rerank(a model that is not served)", lambda: rank(model=UNKNOWN), cohere.errors.NotFoundError, "not-served"
    )
    checks.raises(
        f"{name}.rerank(an embedding model)",
        lambda: rank(model=ID),
        cohere.errors.UnprocessableEntityError,
        "use /similarity",
    )
    checks.raises(
        f"{name}.rerank(no documents)",
        lambda: cohere_client(kind).rerank(model="org/reranker", query=query, documents=[]),
        cohere.errors.BadRequestError,
        "at least one element",
    )
def returned_documents():
    response = cohere_client(cohere.Client).rerank(
        model="org/reranker", query=query, documents=texts, return_documents=True
    )
    got = [one.document.text for one in response.results]
    return got, got == [texts[i] for i in best_first]


checks.holds("cohere.Client.rerank(return_documents=True)", returned_documents)

checks.client = f"langchain-cohere {version('langchain-cohere')}"


def langchain(**options):
    client = cohere_client(cohere.ClientV2)
    return CohereRerank(client=client, cohere_api_key="none", model="org/reranker", **options)


ranks(
    "CohereRerank.rerank",
    lambda: [(one["index"], one["relevance_score"]) for one in langchain().rerank(texts, query)],
)
checks.holds(
    "CohereRerank(top_n=1).compress_documents",
    lambda: (
        (got := [
            (one.page_content, one.metadata["relevance_score"])
            for one in langchain(top_n=1).compress_documents([Document(text) for text in texts], query)
        ]),
        [text for text, _ in got] == [texts[best_first[0]]] and near([got[0][1]], [scores[best_first[0]]]),
    ),
)


def reordered(processor):
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
    found = processor.postprocess_nodes(nodes, query_bundle=QueryBundle(query))
    return [(texts.index(one.node.text), one.score) for one in found]


checks.client = f"llama-index {version('llama-index-postprocessor-tei-rerank')}"
ranks(
    "TextEmbeddingInference.postprocess_nodes",
    lambda: reordered(TextEmbeddingInference(base_url=url, model_name="org/reranker")),
)
ranks(
    "TextEmbeddingInference with the right key",
    lambda: reordered(TextEmbeddingInference(base_url=locked, model_name="org/reranker", auth_token=f"Bearer {KEY}")),
)
checks.client = f"llama-index {version('llama-index-postprocessor-cohere-rerank')}"
ranks(
    "CohereRerank.postprocess_nodes",
    lambda: reordered(LlamaCohereRerank(api_key="none", base_url=url, model="org/reranker", top_n=len(texts))),
)

checks.client = f"huggingface_hub {version('huggingface_hub')}"
expected = softmax(logits("classifier")[:1])[0]


def label_scores(got):
    return (got := {one.label: one.score for one in got}), near([got[label] for label in labels], expected)


def classify(base=url, text={"text": pairs[0][0], "text_pair": pairs[0][1]}, model="org/classifier", **options):
    return InferenceClient(f"{base}/models/{model}", api_key=options.pop("key", None)).text_classification(text, **options)


checks.holds("InferenceClient(URL/models/ID).text_classification of a pair", lambda: label_scores(classify()))
checks.holds(
    "InferenceClient(URL/models/ID).text_classification(top_k=1)",
    lambda: ((got := classify(top_k=1)), [one.label for one in got] == [labels[int(expected.argmax())]]),
)
checks.holds(
    "InferenceClient(URL/models/ID).text_classification(function_to_apply='none')",
    lambda: (
        (got := {one.label: one.score for one in classify(function_to_apply="none")}),
        near([got[label] for label in labels], logits("classifier")[0]),
    ),
)
checks.holds(
    "InferenceClient(URL/models/ID).text_classification of one text",
    lambda: ((got := classify(text="a text", model="org/reranker")), [one.label for one in got] == ["LABEL_0"]),
)
checks.holds("text_classification with the right key", lambda: label_scores(classify(locked, key=KEY)))
checks.raises(
    "text_classification by an embedding model",
    lambda: InferenceClient(f"{url}/models/{ID}/pipeline/text-classification").text_classification("a"),
    HfHubHTTPError,
    "use /similarity",
)
# This client has no method for the task.
checks.client = f"requests {version('requests')}"
for path in ("/models/org/reranker", "/models/org/reranker/pipeline/text-ranking"):
    ranks(
        f"POST {path} with a query and texts",
        lambda path=path: [
            (one["index"], one["score"])
            for one in requests.post(url + path, json={"inputs": {"query": query, "texts": texts}}, timeout=60).json()
        ],
    )
checks.end()
