"""Times one rival on a file of texts, from text to normalized mean-pooled vectors.

    python benches/rivals/rival.py ENGINE PRECISION FOLDER TEXTS.txt REPEAT

ENGINE and PRECISION: sentence-transformers f32, onnxruntime f32, openvino f32, bf16 or int8.
Prints one JSON object with the median of the seconds, and the first vector for a check of the answer.
Each engine runs as its documentation recommends: OpenVINO with its throughput mode and asynchronous queue for many texts,
with its latency mode for a few.
"""
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# From this number of texts on, throughput counts and not latency.
MANY_TEXTS = 9
BATCH = 32
OPENVINO_BATCH = 16


class Batches:
    """Texts as padded batches of similar length, and vectors put back into the order of the texts."""

    def __init__(self, folder, texts, size):
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text())
        sentence = json.loads((folder / "sentence_bert_config.json").read_text())
        self.padding = config.get("pad_token_id") or 0
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(sentence["max_seq_length"])
        self.tokenizer.no_padding()
        self.texts = texts
        self.size = size

    def __iter__(self):
        encodings = self.tokenizer.encode_batch(self.texts)
        order = sorted(range(len(encodings)), key=lambda i: -len(encodings[i].ids))
        for first in range(0, len(order), self.size):
            members = order[first : first + self.size]
            width = max(len(encodings[i].ids) for i in members)
            ids = np.full((len(members), width), self.padding, np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(members):
                length = len(encodings[i].ids)
                ids[row, :length] = encodings[i].ids
                mask[row, :length] = 1
            yield members, ids, mask


def pool(tokens, mask):
    """Normalized means [B, D] of token vectors [B, L, D]."""
    weights = mask[..., None].astype(np.float32)
    means = (tokens * weights).sum(1) / weights.sum(1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def sentence_transformers(folder, texts, precision):
    from sentence_transformers import SentenceTransformer

    if precision != "f32":
        sys.exit("sentence-transformers: f32 only")
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda: model.encode(texts, batch_size=BATCH, show_progress_bar=False)


def onnxruntime(folder, texts, precision):
    import onnxruntime

    if precision != "f32":
        sys.exit("onnxruntime: f32 only")
    session = onnxruntime.InferenceSession(str(folder / "rivals/model.onnx"), providers=["CPUExecutionProvider"])
    batches = Batches(folder, texts, BATCH)

    def run():
        vectors = [None] * len(texts)
        for members, ids, mask in batches:
            (tokens,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
            for i, vector in zip(members, pool(tokens, mask), strict=True):
                vectors[i] = vector
        return np.stack(vectors)

    return run


def openvino(folder, texts, precision):
    import openvino

    many = len(texts) >= MANY_TEXTS
    path = folder / "rivals" / ("openvino-int8.xml" if precision == "int8" else "model.onnx")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "THROUGHPUT" if many else "LATENCY",
    }
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    batches = Batches(folder, texts, OPENVINO_BATCH)
    if not many:
        return lambda: np.concatenate(
            [pool(model({"input_ids": ids, "attention_mask": mask})[0], mask) for _, ids, mask in batches]
        )
    queue = openvino.AsyncInferQueue(model)

    def run():
        vectors = [None] * len(texts)

        def done(request, context):
            members, mask = context
            for i, vector in zip(members, pool(request.get_output_tensor(0).data, mask), strict=True):
                vectors[i] = vector

        queue.set_callback(done)
        for members, ids, mask in batches:
            queue.start_async({"input_ids": ids, "attention_mask": mask}, (members, mask))
        queue.wait_all()
        return np.stack(vectors)

    return run


ENGINES = {"sentence-transformers": sentence_transformers, "onnxruntime": onnxruntime, "openvino": openvino}


def main(engine, precision, folder, texts_path, repeat):
    texts = Path(texts_path).read_text(encoding="utf8").splitlines()
    run = ENGINES[engine](Path(folder), texts, precision)
    # The first run warms caches and compiles for the shapes that occur.
    vectors = run()
    seconds = []
    for _ in range(int(repeat)):
        start = time.perf_counter()
        vectors = run()
        seconds.append(time.perf_counter() - start)
    first = [float(x) for x in np.asarray(vectors[0], dtype=np.float32)]
    print(json.dumps({"seconds": statistics.median(seconds), "first_vector": first}))


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
