"""Tests the openai package against a running server. Usage: openai_package.py URL URL_OF_A_SERVER_WITH_A_KEY"""

import base64
import json
import sys
import urllib.request

import numpy
import openai
from openai import OpenAI

from checks import ID, KEY, SENTENCES, SOURCE, UNKNOWN, Checks

url, locked = sys.argv[1:]
checks = Checks(f"openai {openai.__version__}")
# The package retries failed requests; the test needs the first response.
client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
create = client.embeddings.create
texts = [SOURCE, *SENTENCES]


def sentence_of(error):
    # The package shows only this part of an error.
    return error.response.json()["error"]["message"]


def matrix(answer):
    assert answer.object == "list" and [one.index for one in answer.data] == list(range(len(answer.data)))
    assert all(one.object == "embedding" for one in answer.data)
    return numpy.array([one.embedding for one in answer.data], dtype=numpy.float32)


def one(**options):
    return lambda: matrix(create(model=ID, input=SOURCE, **options))[0]


# Without encoding_format the package requests base64 and decodes it.
checks.vectors("embeddings.create(list)", lambda: matrix(create(model=ID, input=texts)))
checks.vectors("embeddings.create(list, float)", lambda: matrix(create(model=ID, input=texts, encoding_format="float")))
checks.vector("embeddings.create(text)", one())
checks.vector("embeddings.create(text, float)", one(encoding_format="float"))
checks.vector("embeddings.create(text, dimensions=64)", one(dimensions=64), 64)
checks.vector("embeddings.create(text, user)", one(user="somebody"))


def forms():
    answer = create(model=ID, input=texts, encoding_format="base64")
    decoded = [numpy.frombuffer(base64.b64decode(one.embedding), dtype="<f4") for one in answer.data]
    same = numpy.array_equal(decoded, matrix(create(model=ID, input=texts, encoding_format="float")))
    return f"the same bits as float: {same}", same


checks.holds("embeddings.create(list, base64)", forms)


def post(path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def usage():
    answer = create(model=ID, input=texts)
    # [CLS], the words, [SEP]: 7 + 7 + 8 + 7.
    return answer.usage, (answer.usage.prompt_tokens, answer.usage.total_tokens) == (29, 29) and answer.model == ID


checks.holds("embeddings.create(list).usage", usage)


def model():
    found = client.models.retrieve(ID)
    return found, (found.id, found.object) == (ID, "model")


checks.holds("models.retrieve(ID)", model)


def models():
    found = [model.id for model in client.models.list()]
    # The server also has models of other kinds.
    return found, found[:2] == ["sentence-transformers/all-mpnet-base-v2", ID]


checks.holds("models.list()", models)


def refused(call, error, status, words, function):
    def check():
        try:
            return function()
        except error:
            raise
        except openai.OpenAIError as other:
            raise RuntimeError(f"{type(other).__name__} instead of {error.__name__}") from other

    checks.fails(call, check, status, words, sentence_of)


refused(
    "embeddings.create(model=one that is not served)",
    openai.NotFoundError,
    404,
    "not-served",
    lambda: create(model=UNKNOWN, input=SOURCE),
)
refused(
    "embeddings.create(dimensions=4096)",
    openai.UnprocessableEntityError,
    422,
    "384",
    lambda: create(model=ID, input=SOURCE, dimensions=4096),
)
refused(
    "models.retrieve(one that is not served)",
    openai.NotFoundError,
    404,
    "not-served",
    lambda: client.models.retrieve(UNKNOWN),
)


def ids():
    # As in text-embeddings-inference, ids already contain the special tokens.
    return [[token["id"] for token in text] for text in post("/tokenize", {"inputs": texts})]


refused(
    "embeddings.create(lists of token ids)",
    openai.BadRequestError,
    400,
    "check_embedding_ctx_length=False",
    lambda: create(model=ID, input=ids()),
)
refused("embeddings.create(input=[])", openai.BadRequestError, 400, "input", lambda: create(model=ID, input=[]))


def with_key(key, model=ID, input=texts):
    return lambda: OpenAI(base_url=f"{locked}/v1", api_key=key, max_retries=0).embeddings.create(
        model=model, input=input
    )


checks.vectors("embeddings.create(list) with the right key", lambda: matrix(with_key(KEY)()))
checks.vectors("embeddings.create(model=alias)", lambda: matrix(with_key(KEY, "text-embedding-3-small")()))
checks.vectors("embeddings.create(lists of token ids), if allowed", lambda: matrix(with_key(KEY, input=ids())()))
refused("embeddings.create(list) with a wrong key", openai.AuthenticationError, 401, "API key", with_key("wrong"))
checks.end()
