"""Writes a small cross-encoder of the golden file fixtures/goldens/cross-encoders. Usage: cross_encoder.py NAME FOLDER
fixtures/exporter/weights.py has the same weights, and tests/common/matrix.rs writes the same files."""

import json
import pathlib
import struct
import sys

import numpy

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures"
GOLDENS = FIXTURES / "goldens/cross-encoders"
# A reranker, and a classifier with three named labels.
RERANKER = "bert/1 labels/F32/saved"
CLASSIFIER = "bert/3 labels/F32/saved/names of labels"


def golden():
    return json.loads(GOLDENS.with_suffix(".json").read_bytes())


def logits(name):
    """The numbers that sentence-transformers computes for the pairs, [pairs, labels]."""
    data = GOLDENS.with_suffix(".safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    entry = json.loads(data[8 : 8 + length])[f"{name}.logits"]
    start, end = entry["data_offsets"]
    types = {"F32": "<f4", "F64": "<f8"}
    rows = numpy.frombuffer(data[8 + length :][start:end], types[entry["dtype"]]).astype(numpy.float64)
    return rows.reshape(len(golden()["pairs"]), -1)


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def softmax(x):
    return numpy.exp(x) / numpy.exp(x).sum(axis=-1, keepdims=True)


def units(name, count):
    """The elements of a tensor in (-1, 1), from a hash of its name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    z = numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(seed) + numpy.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    z ^= z >> numpy.uint64(31)
    return (2 * (z >> numpy.uint64(40)).astype(numpy.int64) + 1 - 2**24) / 2.0**24


def safetensors(rules):
    header, data = {}, b""
    for name, shape, offset, amplitude in rules:
        elements = offset + amplitude * units(name, int(numpy.prod(shape)))
        content = elements.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write(name, folder):
    content = golden()
    case = next(case for case in content["cases"] if case["name"] == name)
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in case["files"].items():
        (folder / file).write_text(json.dumps(value))
    (folder / "tokenizer.json").write_bytes((FIXTURES / "models" / case["tokenizer"] / "tokenizer.json").read_bytes())
    for file, weights in case["weights"].items():
        (folder / file).write_bytes(safetensors(content["sets"][weights["set"]]))


if __name__ == "__main__":
    write({"reranker": RERANKER, "classifier": CLASSIFIER}[sys.argv[1]], pathlib.Path(sys.argv[2]))
