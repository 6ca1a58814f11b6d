"""What KerasHub and transformers make of the same sentencepiece model and texts.

test_tokenizer.py runs this in an interpreter that has both: a request in JSON on stdin, the answer in the file named by
the only argument, for those libraries write to stdout as they please.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")


def keras_hub(request):
    import keras_hub  # noqa: PLC0415 - slow
    import numpy as np  # noqa: PLC0415

    tokenizer = keras_hub.models.DebertaV3Tokenizer(proto=Path(request["model"]).read_bytes())
    first, second = zip(*request["pairs"], strict=True)

    def packed(x, length):
        preprocessor = keras_hub.models.DebertaV3TextClassifierPreprocessor(tokenizer, sequence_length=length)
        return {name: np.array(value).astype(int).tolist() for name, value in preprocessor(x=x).items()}

    return {
        "vocabulary": tokenizer.get_vocabulary(),
        "pieces": [np.array(tokenizer(text)).tolist() for text in request["texts"]],
        "texts": [packed(request["texts"], length) for length in request["lengths"]],
        "pairs": [packed((list(first), list(second)), length) for length in request["lengths"]],
        "detokenized": [tokenizer.detokenize(ids) for ids in request["ids"]],
    }


def transformers(request):
    import transformers  # noqa: PLC0415 - slow

    tokenizer = transformers.DebertaV2Tokenizer.from_pretrained(Path(request["model"]).parent)
    return {
        "size": len(tokenizer),
        "texts": [tokenizer(text)["input_ids"] for text in request["texts"]],
        "pairs": tokenizer(*map(list, zip(*request["pairs"], strict=True)))["input_ids"],  # alone, ("a", "") is no pair
    }


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    Path(sys.argv[1]).write_text(json.dumps({"keras_hub": keras_hub(asked), "transformers": transformers(asked)}))
