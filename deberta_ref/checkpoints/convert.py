"""From one layout to another: a new directory with the same values, bit for bit, and the same tokenizer."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from deberta_ref.checkpoints import Handle, from_preset, huggingface, keras, locate
from deberta_ref.precision import DTypeLike
from deberta_ref.tokenizer import FILES, Tokenizer

LAYOUTS = {"huggingface": huggingface.write, "keras": keras.write}
"""What can be written, by name."""

TOKENIZER_CONFIG = {"do_lower_case": False, "tokenizer_class": "DebertaV2Tokenizer", "vocab_type": "spm"}


def convert(source: Handle, destination: Handle, layout: str, dtype: DTypeLike | None = None) -> list[str]:
    """Write the model that ``source`` names to the new directory ``destination``; the files in it.

    Values keep the type that they are stored in unless ``dtype`` casts them; bfloat16 becomes float32. A tokenizer goes
    along if the source has one. Raises ValueError for an unknown layout, FileExistsError if the destination is there
    already; it appears whole or not at all.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be {' or '.join(map(repr, LAYOUTS))}; got {layout!r}.")
    target = Path(destination)
    if target.exists():
        raise FileExistsError(f"{target} is there already, and nothing is written over: name a new directory.")
    directory = locate(source)
    params = from_preset(directory, dtype=dtype, allow_nonfinite=True)  # as they are: they are not computed with
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.unfinished-", dir=target.parent) as unfinished:
        folder = Path(unfinished) / target.name
        LAYOUTS[layout](params, folder)
        _write_tokenizer(directory, folder, layout)
        shutil.move(folder, target)
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())


def _write_tokenizer(directory: Path, folder: Path, layout: str) -> None:
    model = next((directory / name for name in FILES if (directory / name).is_file()), None)
    if model is None:
        return
    Tokenizer.from_file(model)  # refuses what is no tokenizer
    if layout == "keras":
        keras.write_tokenizer(model.read_bytes(), folder)
        return
    shutil.copyfile(model, folder / "spm.model")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n", "utf-8")
