"""Checks single requests. Usage: check.py direct SERVER | check.py proxy SERVER PROXY | check.py plain SERVER PROXY"""

import html.parser
import json
import socket
import sys
from urllib.parse import urljoin, urlsplit

from client import TEXTS, embed, expected, send

PREFIX = "/likewise"


class Links(html.parser.HTMLParser):
    """The links of a page."""

    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src")]


def raw(address, request):
    """Sends bytes and returns everything until the connection closes."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as stream:
        stream.sendall(request)
        received = b""
        while part := stream.recv(65536):
            received += part
        return received


def check_bodies(server, proxy, limit):
    """Bodies of every kind have the response that they have without a proxy."""
    assert [embed(proxy, "/embed", text) for text in TEXTS] == expected(server)
    large = [str(i) for i in range(5000)]
    assert embed(proxy, "/embed", large) == embed(server, "/embed", large)
    body = json.dumps({"inputs": TEXTS[0]}).encode()
    # A body without a length is sent in chunks.
    parts = (body[i : i + 7] for i in range(0, len(body), 7))
    response, found = send(proxy, "POST", "/embed", parts)
    assert (response.status, found) == (200, embed(server, "/embed", TEXTS[0])), (response.status, found)
    head = f"POST /embed HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {len(body)}"
    found = raw(proxy, head.encode() + b"\r\n\r\n" + body)
    assert b"HTTP/1.1 200 OK" in found and b"HTTP/1.1 100 Continue" in found, found[:200]
    response, found = send(proxy, "POST", "/embed", json.dumps({"inputs": "x" * limit}))
    assert response.status == 413 and (b"2000000 bytes" in found or limit < 2_000_000), (response.status, found[:200])


def check_heads(server, proxy):
    """Methods, request ids and large heads."""
    for path in ["/health", "/ping"]:
        for method in ["GET", "HEAD"]:
            response, found = send(proxy, method, path, headers={"Host": "EXAMPLE.org"})
            assert (response.status, found) == (200, b""), (method, path, response.status)
    response, _ = send(proxy, "GET", "/ping", headers={"X-Request-Id": "an-id-of-the-client"})
    assert response.getheader("X-Request-Id") == "an-id-of-the-client", response.headers
    response, _ = send(proxy, "GET", "/ping")
    assert response.getheader("X-Request-Id"), response.headers
    large = {f"X-Forwarded-Large-{i}": "x" * 7000 for i in range(3)}
    large["X-Forwarded-For"] = ", ".join(["192.0.2.1"] * 100)
    assert embed(proxy, "/embed", TEXTS[0], large) == embed(server, "/embed", TEXTS[0])


def check_prefix(server, proxy):
    """The page and the description of the API work below a prefix that the proxy removes."""
    response, _ = send(proxy, "GET", PREFIX)
    assert response.status in (301, 308), response.status
    page = urljoin(f"http://{proxy}{PREFIX}", response.getheader("Location"))
    assert urlsplit(page).path == f"{PREFIX}/", page
    seen = set()
    for start in [page, urljoin(page, "docs")]:
        _, text = send(proxy, "GET", urlsplit(start).path, headers={"Accept": "text/html"})
        links = Links()
        links.feed(text.decode())
        for link in links.links:
            if link.startswith(("#", "data:")):
                continue
            path = urlsplit(urljoin(start, link)).path
            assert path.startswith(f"{PREFIX}/"), (start, link)
            response, found = send(proxy, "GET", path, headers={"Accept": "text/html"})
            direct, same = send(server, "GET", path.removeprefix(PREFIX), headers={"Accept": "text/html"})
            assert (response.status, found) == (direct.status, same) == (200, same), path
            seen.add(path.removeprefix(PREFIX))
    assert {"/", "/docs", "/page.css", "/page.js", "/explain.js", "/docs.js", "/openapi.json"} <= seen, seen
    address = f"http://{proxy}{PREFIX}/openapi.json"
    description = json.loads(send(proxy, "GET", urlsplit(address).path)[1])
    operation = description["paths"]["/models/{name}/pipeline/feature-extraction"]["post"]
    bases = [one["url"] for one in description["servers"] + operation["servers"]]
    assert len(bases) == 3, bases
    for base in bases:
        path = urlsplit(urljoin(address, base)).path.removesuffix("/") + "/models/tiny/pipeline/feature-extraction"
        assert path.startswith(f"{PREFIX}/"), path
        assert embed(proxy, path, TEXTS[0]) == embed(server, path.removeprefix(PREFIX), TEXTS[0]), path


def check_direct(server):
    """What proxies send to the server itself."""
    body = json.dumps({"inputs": TEXTS[0]})
    vector = expected(server)[0]
    # The target in absolute form, as to a forward proxy, and hosts that are not the server's.
    target = f"POST http://Example.ORG/embed HTTP/1.1\r\nhost: Example.ORG\r\nconnection: close\r\ncontent-length: {len(body)}"
    assert raw(server, f"{target}\r\n\r\n{body}".encode()).endswith(vector)
    # HTTP/1.0, without and with keep-alive.
    head = f"POST /embed HTTP/1.0\r\ncontent-length: {len(body)}"
    found = raw(server, f"{head}\r\n\r\n{body}".encode())
    assert found.endswith(vector) and b"keep-alive" not in found.lower(), found[:300]
    second = f"POST /embed HTTP/1.0\r\ncontent-length: {len(body)}"
    found = raw(server, f"{head}\r\nconnection: keep-alive\r\n\r\n{body}{second}\r\n\r\n{body}".encode())
    assert found.count(vector) == 2 and b"keep-alive: timeout=180" in found.lower(), found[:300]
    # Two requests at once.
    head = f"POST /embed HTTP/1.1\r\nhost: example.org\r\ncontent-length: {len(body)}\r\n"
    found = raw(server, f"{head}\r\n{body}{head}connection: close\r\n\r\n{body}".encode())
    assert found.count(vector) == 2 and found.lower().count(b"keep-alive: timeout=180") == 1, found[:300]
    large = "".join(f"X-Forwarded-{i}: {'x' * 4000}\r\n" for i in range(8))
    found = raw(server, f"GET /ping HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n{large}\r\n".encode())
    assert found.startswith(b"HTTP/1.1 200"), found[:300]


def main(kind, server, proxy=None):
    if kind == "direct":
        check_direct(server)
    else:
        # The configuration without settings rejects bodies of more than a megabyte itself.
        check_bodies(server, proxy, 1_100_000 if kind == "plain" else 2_090_000)
        check_heads(server, proxy)
    if kind == "proxy":
        check_prefix(server, proxy)
    print(f"{kind} {proxy or server}: as without a proxy")


if __name__ == "__main__":
    main(*sys.argv[1:])
