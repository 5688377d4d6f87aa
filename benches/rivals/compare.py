"""Compares the speed of likewise with other engines and writes the table of docs/performance.md.

    cargo build --release
    python benches/rivals/compare.py --folder NAME=FOLDER... --texts NAME=TEXTS.txt... [--rounds 3] [--write docs/performance.md]

Each cell is a ratio of medians: the other engine's seconds divided by ours, above 1 when likewise is faster.
Both run in turn (A B A B) in fresh processes on the same texts, from text to vectors.
Each round checks that the engines agree on the first vector (cosine) before its time counts.
Use whole loads of a thousand short texts or more: a few hundred leave OpenVINO's parallel streams with uneven work.
"""
import argparse
import array
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIKEWISE = ROOT / "target/release/likewise"
PAIRS = [
    ("openvino", "f32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "f32"),
    ("sentence-transformers", "f32"),
]
# The least cosine between the first vectors of two engines in the same precision.
# Static int8 loses most, and models with random weights lose more than trained ones.
MIN_COSINE = {"f32": 0.9999, "bf16": 0.999, "int8": 0.9}
MARKS = ("<!-- benches/rivals/compare.py -->\n", "<!-- end -->\n")


def output_of(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command}: {done.stderr[-2000:]}")
    return done.stdout


def ours(folder, texts, precision, repeat):
    """Seconds of `likewise bench`, and the vector of the first text."""
    options = ["--model", folder, "--precision", precision]
    bench = output_of(LIKEWISE, "bench", *options, "--input", texts, "--repeat", repeat, "--json")
    first = texts.read_text(encoding="utf8").splitlines()[0]
    with tempfile.TemporaryDirectory() as temporary:
        one = Path(temporary) / "one.txt"
        one.write_text(first + "\n", encoding="utf8")
        vectors = Path(temporary) / "one.npy"
        output_of(LIKEWISE, "embed", *options, "--input", one, "--output", vectors)
        data = vectors.read_bytes()
    elements = array.array("f", data[10 + int.from_bytes(data[8:10], "little") :])
    return json.loads(bench)["seconds"], list(elements)


def theirs(engine, folder, texts, precision, repeat):
    script = Path(__file__).with_name("rival.py")
    result = json.loads(output_of(sys.executable, script, engine, precision, folder, texts, repeat).splitlines()[-1])
    return result["seconds"], result["first_vector"]


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def ratio(engine, precision, folder, texts, options):
    """Their median seconds divided by ours, and what was measured."""
    seconds = {"likewise": [], engine: []}
    for _ in range(options.rounds):
        our_seconds, our_vector = ours(folder, texts, precision, options.repeat)
        their_seconds, their_vector = theirs(engine, folder, texts, precision, options.repeat)
        agreement = cosine(our_vector, their_vector)
        if agreement < MIN_COSINE[precision]:
            sys.exit(f"{engine} {precision}, {folder}: cosine {agreement:.5f} of the first vectors; nothing was timed")
        seconds["likewise"].append(our_seconds)
        seconds[engine].append(their_seconds)
    value = statistics.median(seconds[engine]) / statistics.median(seconds["likewise"])
    print(f"{engine} {precision} {folder.name} {texts.name}: {value:.2f} {json.dumps(seconds)}", file=sys.stderr, flush=True)
    return value


def named_paths(arguments):
    return [(name, Path(path)) for name, _, path in (argument.partition("=") for argument in arguments)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", action="append", required=True, metavar="NAME=FOLDER", help="a model folder, exported")
    parser.add_argument("--texts", action="append", required=True, metavar="NAME=FILE", help="a text per line")
    parser.add_argument("--pair", action="append", metavar="ENGINE:PRECISION", help="one column; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks in this file")
    options = parser.parse_args()
    pairs = [tuple(pair.split(":")) for pair in options.pair or []] or PAIRS
    rows = [["", *(f"{engine} {precision}" for engine, precision in pairs)], ["---"] * (1 + len(pairs))]
    for model_name, folder in named_paths(options.folder):
        for texts_name, texts in named_paths(options.texts):
            cells = [f"{ratio(*pair, folder, texts, options):.2f}" for pair in pairs]
            rows.append([f"{model_name}, {texts_name}", *cells])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    print(table, end="")
    if options.write:
        text = options.write.read_text(encoding="utf8")
        before, begin, rest = text.partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        if not (begin and end):
            sys.exit(f"{options.write}: expected the lines {MARKS}")
        options.write.write_text(before + MARKS[0] + table + MARKS[1] + after, encoding="utf8")


main()
