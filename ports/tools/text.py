"""What others make of texts with one sentencepiece model: token ids and padding masks.

    python ports/tools/text.py REQUEST ANSWER

REQUEST is a file in JSON: ``model``, the path of an spm.model; ``batches``, each with ``texts``, a list of str or of
pairs, and a ``sequence_length`` or null; ``ids``, lists of ids to make texts of. ANSWER will hold for each
implementation its ``version``, its ``vocabulary``, the ``batches`` and, if it makes texts of ids, these ``texts``.

keras-hub and transformers do everything themselves, with the options that they have by default. The others give the
pieces, and ``packed`` below puts special tokens and padding around them and cuts them, one place at a time: the
package of the authors, whose own packing cuts at random; sentencepiece; and tokenizers, put together by the converter
with which transformers 4 made its fast tokenizer of this model. keras-hub, deberta and sentencepiece have their
pieces from sentencepiece's library; transformers and tokenizers from one in Rust that shares nothing with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "adapters"))

PAD, CLS, SEP = 0, 1, 2
"""What `packed` puts around pieces. In every DeBERTaV3's model they are these ids, and in the demo's."""


def keras_hub(model: Path) -> dict[str, Any]:
    """KerasHub's DebertaV3Tokenizer and DebertaV3TextClassifierPreprocessor, on JAX."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras_hub  # noqa: PLC0415 - slow, as all of them
    import numpy as np  # noqa: PLC0415

    tokenizer = keras_hub.models.DebertaV3Tokenizer(proto=model.read_bytes())

    def batch(texts: list[Any], sequence_length: int | None) -> Any:
        segments = [list(column) for column in zip(*map(as_segments, texts), strict=True)]
        needed = sequence_length or max(1 + sum(len(tokenizer(s)) + 1 for s in as_segments(text)) for text in texts)
        preprocessor = keras_hub.models.DebertaV3TextClassifierPreprocessor(tokenizer, sequence_length=needed)
        found = preprocessor(x=tuple(segments) if len(segments) > 1 else segments[0])
        return {name: np.asarray(rows).astype(int).tolist() for name, rows in found.items()}

    return {"batch": batch, "vocabulary": tokenizer.get_vocabulary(), "text": tokenizer.detokenize}


def transformers(model: Path) -> dict[str, Any]:
    """The DebertaV2Tokenizer that transformers makes of a directory with an spm.model."""
    import transformers  # noqa: PLC0415

    tokenizer = transformers.DebertaV2Tokenizer.from_pretrained(model.parent)

    def batch(texts: list[Any], sequence_length: int | None) -> Any:
        columns = [list(column) for column in zip(*map(as_segments, texts), strict=True)]
        options = {"padding": "max_length", "truncation": True, "max_length": sequence_length}
        found = tokenizer(*columns, **(options if sequence_length else {"padding": "longest"}))
        return {"token_ids": found["input_ids"], "padding_mask": found["attention_mask"]}

    return {"batch": batch, "vocabulary": tokenizer.convert_ids_to_tokens(range(len(tokenizer)))}


def deberta(model: Path) -> dict[str, Any]:
    """The pieces of the authors' SPMTokenizer."""
    from authors import package  # noqa: PLC0415

    tokenizer = package().spm_tokenizer.SPMTokenizer(str(model))
    return by_hand(lambda text: tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text)), tokenizer.id_to_tokens)


def sentencepiece(model: Path) -> dict[str, Any]:
    """The pieces of the model's own library."""
    import sentencepiece  # noqa: PLC0415

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return by_hand(processor.encode, [processor.id_to_piece(i) for i in range(processor.get_piece_size())])


def tokenizers(model: Path) -> dict[str, Any]:
    """The pieces of tokenizers, as the converter of transformers 4 puts it together: with the model's normaliser."""
    import sentencepiece  # noqa: PLC0415
    from transformers.convert_slow_tokenizer import DebertaV2Converter  # noqa: PLC0415

    slow = SimpleNamespace(vocab_file=str(model), do_lower_case=False, split_by_punct=False, add_prefix_space=True)
    slow.convert_tokens_to_ids = sentencepiece.SentencePieceProcessor(model_file=str(model)).piece_to_id
    tokenizer = DebertaV2Converter(slow).converted()
    tokenizer.add_special_tokens(["[MASK]"])
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    return by_hand(lambda text: tokenizer.encode(text, add_special_tokens=False).ids, vocabulary)


PORTS = {
    "keras-hub": keras_hub,
    "transformers": transformers,
    "tokenizers": tokenizers,
    "deberta": deberta,
    "sentencepiece": sentencepiece,
}
"""Every implementation by its package on PyPI."""


def by_hand(pieces: Callable[[str], list[int]], vocabulary: list[str]) -> dict[str, Any]:
    """A port that has only pieces."""

    def batch(texts: list[Any], sequence_length: int | None) -> Any:
        return packed([[pieces(text) for text in as_segments(entry)] for entry in texts], sequence_length)

    return {"batch": batch, "vocabulary": vocabulary}


def packed(entries: list[list[list[int]]], sequence_length: int | None) -> dict[str, list[list[int]]]:
    """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], as long as the longest or as asked for."""
    rows = []
    for segments in entries:
        room = sum(map(len, segments)) if sequence_length is None else sequence_length - 1 - len(segments)
        kept: list[list[int]] = [[] for _ in segments]
        for place in range(max(map(len, segments))):
            for n, segment in enumerate(segments):
                if place < len(segment) and sum(map(len, kept)) < room:
                    kept[n].append(segment[place])
        rows.append([CLS, *(i for segment in kept for i in [*segment, SEP])])
    width = sequence_length or max(map(len, rows))
    return {
        "token_ids": [row + [PAD] * (width - len(row)) for row in rows],
        "padding_mask": [[1] * len(row) + [0] * (width - len(row)) for row in rows],
    }


def as_segments(entry: Any) -> list[str]:
    """The texts of an entry: one, or the two of a pair."""
    return [entry] if isinstance(entry, str) else list(entry)


def main() -> None:
    """Ask every implementation."""
    request = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    answer = {}
    for name, load in PORTS.items():
        port = load(Path(request["model"]))
        answer[name] = {
            "version": importlib.metadata.version(name),
            "vocabulary": port["vocabulary"],
            "batches": [port["batch"](**batch) for batch in request["batches"]],
            "texts": [port["text"](ids) for ids in request.get("ids", ())] if "text" in port else None,
        }
    Path(sys.argv[2]).write_text(json.dumps(answer), "utf-8")


if __name__ == "__main__":
    main()
