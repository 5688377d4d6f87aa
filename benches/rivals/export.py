"""Exports a model folder for the rivals: FOLDER/rivals/model.onnx, and an OpenVINO model in static int8.

    python benches/rivals/export.py FOLDER CALIBRATION.txt

CALIBRATION.txt has a text per line; the first hundred calibrate the int8 model.
The folder is in the format of sentence-transformers, with an encoder that transformers loads.
"""
import sys
from pathlib import Path

import nncf
import numpy as np
import openvino
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

CALIBRATION_TEXTS = 100
MAX_CALIBRATION_TOKENS = 128


class TokenVectors(torch.nn.Module):
    """The encoder as a function of ids and mask [B, L] that returns token vectors [B, L, D]."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids, attention_mask):
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def export_onnx(folder, path):
    # The eager attention exports to plain matrix products, which every engine fuses in its own way.
    encoder = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.full((2, 9), 10)
    axes = {0: "batch", 1: "tokens"}
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        TokenVectors(encoder),
        (ids, torch.ones_like(ids)),
        str(path),
        input_names=names,
        output_names=["token_vectors"],
        dynamic_axes={name: axes for name in [*names, "token_vectors"]},
        opset_version=17,
        dynamo=False,
    )


def export_int8(folder, onnx_path, path, texts):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_CALIBRATION_TOKENS)
    tokenizer.no_padding()
    samples = []
    for encoding in tokenizer.encode_batch(texts[:CALIBRATION_TEXTS]):
        ids = np.array([encoding.ids], np.int64)
        samples.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    model = openvino.Core().read_model(onnx_path)
    quantized = nncf.quantize(
        model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(samples)
    )
    openvino.save_model(quantized, path)


def main(folder, calibration):
    folder = Path(folder)
    rivals = folder / "rivals"
    rivals.mkdir(exist_ok=True)
    texts = Path(calibration).read_text(encoding="utf8").splitlines()
    export_onnx(folder, rivals / "model.onnx")
    export_int8(folder, rivals / "model.onnx", rivals / "openvino-int8.xml", texts)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
