"""Writes a small model of a golden file of fixtures/goldens. Usage: small_models.py reranker|classifier|sparse FOLDER
fixtures/exporter/weights.py has the same weights, and tests/common/matrix.rs writes the same files."""

import json
import math
import pathlib
import struct
import sys

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures"
# The golden file and the name of each model. The classifier has three named labels.
MODELS = {
    "reranker": ("cross-encoders", "bert/1 labels/F32/saved"),
    "classifier": ("cross-encoders", "bert/3 labels/F32/saved/names of labels"),
    "sparse": ("sparse", "bert/max/relu/F32/saved"),
}
MASK = 2**64 - 1


def golden(file):
    return json.loads((FIXTURES / f"goldens/{file}.json").read_bytes())


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


def write(kind, folder):
    file, name = MODELS[kind]
    content = golden(file)
    case = next(case for case in content["cases"] if case["name"] == name)
    folder.mkdir(parents=True, exist_ok=True)
    for path, value in case["files"].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(value))
    (folder / "tokenizer.json").write_bytes((FIXTURES / "models" / case["tokenizer"] / "tokenizer.json").read_bytes())
    for path, weights in case["weights"].items():
        (folder / path).write_bytes(safetensors(content["sets"][weights["set"]]))


if __name__ == "__main__":
    write(sys.argv[1], pathlib.Path(sys.argv[2]))
