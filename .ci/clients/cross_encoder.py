"""Writes a small cross-encoder of the golden file fixtures/goldens/cross-encoders. Usage: cross_encoder.py NAME FOLDER
fixtures/exporter/weights.py has the same weights, and tests/common/matrix.rs writes the same files."""

import json
import math
import pathlib
import struct
import sys

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures"
GOLDENS = FIXTURES / "goldens/cross-encoders"
# A reranker, and a classifier with three named labels.
RERANKER = "bert/1 labels/F32/saved"
CLASSIFIER = "bert/3 labels/F32/saved/names of labels"
MASK = 2**64 - 1


def golden():
    return json.loads(GOLDENS.with_suffix(".json").read_bytes())


def units(name, count):
    """The elements of a tensor in (-1, 1), from a hash of its name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    return [unit((number + seed + 0x9E3779B97F4A7C15) & MASK) for number in range(count)]


def unit(z):
    """The finalizer of splitmix64, then its upper 24 bits as a float in (-1, 1)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    return (2 * (z >> 40) + 1 - 2**24) / 2.0**24


def safetensors(rules):
    header, data = {}, b""
    for name, shape, offset, amplitude in rules:
        elements = [offset + amplitude * element for element in units(name, math.prod(shape))]
        content = struct.pack(f"<{len(elements)}f", *elements)
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
