"""Writes every intermediate result of a PyTorch encoder to a safetensors file, for `likewise compare`.

Usage: python examples/dump_torch.py MODEL --output dump.safetensors TEXT...

MODEL is a folder (or hub id) of a Hugging Face encoder or of sentence-transformers. The tensors have the names of the
modules that compute them: `encoder.layer.0.attention.self.query`. `.input` follows the name for what a linear layer or
a norm reads, and `@1` for the second call of a module. Attention adds `.scores`, `.probabilities`, `.rotated_query`
and `.rotated_key` to the name of its module. To dump a port, import `dump` and pass the model and its inputs.

Needs torch, transformers and safetensors, and sentence-transformers for its folders.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]

# Parts of the names of modules whose input is written too.
WITH_INPUT = ("Linear", "Norm", "Conv1D", "Dense")


class _Recorder:
    """The tensors of one run, and the modules that are running."""

    def __init__(self) -> None:
        self.tensors: Tensors = {}
        self.running: list[str] = []

    def save(self, name: str, value: object) -> None:
        """Keeps a tensor, or the first of several. Later calls of a module get a number."""
        while isinstance(value, tuple | list) and value:
            value = value[0]
        if hasattr(value, "last_hidden_state"):
            value = value.last_hidden_state
        if not isinstance(value, torch.Tensor) or value.dim() < 2:
            return
        count = 1
        unique = name
        while unique in self.tensors:
            unique, count = f"{name}@{count}", count + 1
        # A copy, because the model may write to the tensor later.
        self.tensors[unique] = value.detach().clone().cpu()

    def inside(self, name: str, value: object) -> None:
        """Keeps a tensor under the name of the running module."""
        if self.running:
            self.save(f"{self.running[-1]}.{name}", value)

    def before(self, name: str, module: nn.Module) -> Callable:
        """Returns the hook that runs before a module."""
        has_input = any(part in type(module).__name__ for part in WITH_INPUT)

        def act(_module: nn.Module, inputs: tuple) -> None:
            self.running.append(name)
            if has_input and inputs:
                self.save(f"{name}.input", inputs[0])

        return act

    def after(self, name: str) -> Callable:
        """Returns the hook that runs after a module."""

        def act(_module: nn.Module, _inputs: tuple, output: object) -> None:
            self.running.pop()
            if isinstance(output, dict) and "sentence_embedding" in output:
                self.save(f"{name}.sentence_embedding", output["sentence_embedding"])
            elif not isinstance(output, dict) or hasattr(output, "last_hidden_state"):
                self.save(name, output)

        return act


@contextmanager
def _hooks(recorder: _Recorder, model: nn.Module) -> Iterator[None]:
    """Registers hooks on all modules."""
    handles = []
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(recorder.before(name, module)))
            handles.append(module.register_forward_hook(recorder.after(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _softmax(recorder: _Recorder) -> Iterator[None]:
    """Keeps what the softmax of attention reads and returns."""
    original = nn.functional.softmax

    def softmax(scores: torch.Tensor, *arguments, **options) -> torch.Tensor:
        probabilities = original(scores, *arguments, **options)
        if scores.dim() == 4:
            recorder.inside("scores", scores)
            recorder.inside("probabilities", probabilities)
        return probabilities

    with mock.patch.object(nn.functional, "softmax", softmax):
        yield


@contextmanager
def _rotations(recorder: _Recorder, model: nn.Module) -> Iterator[None]:
    """Keeps rotated queries and keys of models that transformers writes."""
    sources = {sys.modules[type(module).__module__] for module in model.modules()}
    with ExitStack() as stack:
        for source in sources:
            original = getattr(source, "apply_rotary_pos_emb", None)
            if original is None:
                continue

            def rotate(*arguments, original=original, **options) -> tuple:
                query, key = original(*arguments, **options)
                recorder.inside("rotated_query", query)
                recorder.inside("rotated_key", key)
                return query, key

            stack.enter_context(mock.patch.object(source, "apply_rotary_pos_emb", rotate))
        yield


@torch.inference_mode()
def dump(model: nn.Module, inputs: Tensors) -> Tensors:
    """Runs a model, and returns its inputs and the results of all its modules, in the order of the computation.

    `inputs` has `input_ids` and `attention_mask` [texts, tokens]. A sentence-transformers model gets them as its
    features, any other as arguments.
    """
    recorder = _Recorder()
    tensors = {name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    with _hooks(recorder, model), _softmax(recorder), _rotations(recorder, model):
        if type(model).__name__ in ("SentenceTransformer", "SparseEncoder"):
            output = model(dict(inputs))
            recorder.save("sentence_embedding", output["sentence_embedding"])
        else:
            model(**inputs)
    return tensors | recorder.tensors


def load(folder: str) -> tuple[nn.Module, Callable[[list[str]], Tensors]]:
    """Loads a model in float32 with eager attention, and returns its tokenizer as a function of texts."""
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    if (Path(folder) / "modules.json").exists():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(folder, device="cpu", model_kwargs=options)
        return model.eval(), model.preprocess if hasattr(model, "preprocess") else model.tokenize
    from transformers import AutoConfig, AutoModel, AutoTokenizer, T5EncoderModel

    tokenizer = AutoTokenizer.from_pretrained(folder)
    is_t5 = AutoConfig.from_pretrained(folder).model_type == "t5"
    model = (T5EncoderModel if is_t5 else AutoModel).from_pretrained(folder, **options)
    return model.eval(), lambda texts: dict(tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))


def save(path: Path, tensors: Tensors) -> None:
    """Writes tensors. The metadata has their order."""
    from safetensors.torch import save_file

    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    save_file(contiguous, path, metadata={"format": "pt", "sites": " ".join(tensors)})


def main() -> None:
    """Writes the file that the arguments describe."""
    parser = argparse.ArgumentParser(description="Write every intermediate result of a PyTorch encoder.")
    parser.add_argument("model", help="folder or hub id")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--output", type=Path, required=True, help="file to write (.safetensors)")
    arguments = parser.parse_args()
    model, tokenize = load(arguments.model)
    tensors = dump(model, tokenize(arguments.texts))
    save(arguments.output, tensors)
    print(f"{arguments.output}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()
