"""A client for the tests of the service behind reverse proxies."""

import http.client
import json

TEXTS = [f"A sentence with the number {i}" for i in range(64)]


def send(address, method, path, body=None, headers=None, timeout=150):
    """Sends a request on a new connection, and returns the response and its body."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def embed(address, path, inputs, headers=None):
    """Requests vectors, and returns the body of the response, which must have status 200."""
    response, body = send(address, "POST", path, json.dumps({"inputs": inputs}), headers)
    assert response.status == 200, (response.status, body[:200])
    return body


def expected(address):
    """The response for each text, from the server itself."""
    return [embed(address, "/embed", text) for text in TEXTS]
