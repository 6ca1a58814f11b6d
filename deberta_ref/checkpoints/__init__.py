"""Where parameters come from: a handle -> a directory -> its layout -> ``Params``; and from one layout to another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from deberta_ref.checkpoints import authors, hub, huggingface, keras
from deberta_ref.config import Config
from deberta_ref.initialisation import init
from deberta_ref.params import Params
from deberta_ref.precision import STORED, DTypeLike, known_dtype
from deberta_ref.presets import nearest, presets

DEMO = "deberta_v3_demo_en"
"""The small trained checkpoint that comes with the package."""

FREE = ("dropout", "max_sequence_length")
"""What of a configuration may be overridden while the weights are kept: no weight's shape or meaning depends on it."""

Handle = str | os.PathLike[str]


def from_preset(
    handle: Handle,
    load_weights: bool = True,
    dtype: DTypeLike | None = None,
    *,
    allow_nonfinite: bool = False,
    **overrides: float,
) -> Params:
    """The parameters that ``handle`` names, mapped from the disk where their layout allows it.

    Parameters
    ----------
    handle : str or path
        A directory; ``hf://org/name[@revision]``; ``kaggle://org/model/framework/variation[/version]``; the name of a
        preset, which is fetched from the Hugging Face hub; or 'deberta_v3_demo_en', which comes with the package. A
        directory's layout, Hugging Face's, KerasHub's or the authors', is recognised by what is in it.
    load_weights : bool
        False for random parameters (``init``, seed 0) of the same sizes; no weights are fetched then.
    dtype : {'float16', 'float32', 'float64'} or a NumPy type, optional
        What the values are cast to. By default they stay in the type that they are stored in; only bfloat16, which
        NumPy lacks, becomes float32.
    allow_nonfinite : bool
        True to take NaN and infinities as they are, and not to look for them, which reads every value once.
    **overrides
        Fields of ``Config`` to change. With the weights, only two can be: ``dropout``, which no forward pass has, and
        ``max_sequence_length``. The latter is how long inputs may be, and also where the log buckets of distances end
        (clause REL-BUCKET), so the same weights give other results for inputs that are longer than bucket_size // 2
        tokens. With ``load_weights=False`` all of them can be.

    Returns
    -------
    Params
        The parameters.

    Raises
    ------
    ValueError
        For a model that is no DeBERTaV3, broken files, tensors that do not fit, values that are not finite (with the
        place of the first), and overrides that contradict the weights.
    TypeError
        For overrides of unknown names.
    FileNotFoundError, PermissionError, ConnectionError
        Where the model is not to be had.

    Examples
    --------
    >>> from deberta_ref import from_preset
    >>> from_preset("deberta_v3_demo_en").dtype
    dtype('float32')
    >>> from_preset("deberta_v3_demo_en", max_sequence_length=1000).config.max_sequence_length
    1000
    >>> from_preset("deberta_v3_demo_en", load_weights=False, num_layers=1, dtype="float64").num_params
    149424
    """
    if dtype is not None:
        known_dtype(dtype, STORED)  # refuse it before anything is fetched
    known = [field.name for field in fields(Config)]
    if unknown := [name for name in overrides if name not in known]:
        raise TypeError(f"from_preset may override {', '.join(known)}; got {', '.join(unknown)}.")
    if not load_weights:
        return init(_overridden(read_config(handle), overrides), dtype="float32" if dtype is None else dtype)
    if overrides:
        _check_overrides(handle, read_config(handle), overrides)  # before weights are fetched
    directory = locate(handle)
    params: Params = _layout(directory).read(directory, allow_nonfinite=allow_nonfinite)
    if overrides:
        params = replace(params, config=_overridden(params.config, overrides))
    return params if dtype is None else params.astype(dtype)


def _overridden(config: Config, overrides: Mapping[str, Any]) -> Config:
    """The configuration with these of its fields changed, validated anew."""
    return replace(config, **overrides)


def _check_overrides(handle: Handle, config: Config, overrides: Mapping[str, float]) -> None:
    """Refuse what contradicts the weights, which is all but ``FREE``, and what no configuration can have."""
    has = {name: getattr(config, name) for name in overrides if name not in FREE}
    if differs := [name for name in has if overrides[name] != has[name]]:
        raise ValueError(
            f"The weights of {handle} have {', '.join(f'{name} {has[name]}' for name in differs)}; got "
            f"{', '.join(f'{name} {overrides[name]!r}' for name in differs)}: leave out what contradicts the weights, "
            f"or load_weights=False for random ones."
        )
    _overridden(config, overrides)


def read_config(handle: Handle) -> Config:
    """The sizes of the model that ``handle`` names; no weights are fetched or read."""
    if _name(handle) in presets:
        return presets[_name(handle)].config
    directory = locate(handle, weights=False)
    config: Config = _layout(directory).read_config(directory)
    return config


def locate(handle: Handle, *, weights: bool = True) -> Path:
    """The directory that ``handle`` names, fetched from its hub if it is on one; without ``weights``, all but those."""
    name = _name(handle)
    if name == DEMO:
        return Path(__file__).parents[1] / "demo"
    if name in presets:
        return hub.download(f"hf://{presets[name].huggingface}", weights=weights)
    if "://" in name:
        return hub.download(name, weights=weights)
    directory = Path(name)
    if not name or not directory.is_dir():
        raise FileNotFoundError(
            f"A handle must be a directory, {hub.FORMS}, or one of {', '.join([*presets, DEMO])}; got {name!r}"
            f"{_hint(name)}"
        )
    return directory


def _hint(name: str) -> str:
    """How the sentence on a handle that names nothing ends."""
    if hub.HUGGINGFACE.fullmatch(f"hf://{name}"):
        return f": a repository on the Hugging Face hub is 'hf://{name}'."
    near = nearest(name, DEMO)
    return f": did you mean {near!r}?" if near else "."


def _name(handle: Handle) -> str:
    if not isinstance(handle, (str, os.PathLike)):
        raise TypeError(f"A handle must be a str or a path; got {handle!r}.")
    return str(os.fspath(handle))


def _layout(directory: Path) -> Any:
    """The module that reads the layout of ``directory``."""
    for layout in (keras, huggingface, authors):  # a config.json outranks a model_config.json beside it
        if layout.recognises(directory):
            return layout
    raise FileNotFoundError(f"{directory} must hold config.json or {authors.CONFIG}, and weights; it has neither.")
