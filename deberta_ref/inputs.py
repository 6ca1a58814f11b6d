"""What comes in, checked once: token ids and padding mask -> the valid tokens, packed. Chapters 1 and 7 of spec/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deberta_ref.config import Config
from deberta_ref.params import Params
from deberta_ref.positions import check_distance
from deberta_ref.precision import Integers

Inputs = Mapping[str, ArrayLike]
"""What a forward pass takes: ``token_ids`` and ``padding_mask``, each (B, T), arrays or nested lists of integers. What
a Hugging Face tokenizer returns is taken too."""

KEYS = ("token_ids", "padding_mask")

TYPES = "token_type_ids"
"""What a Hugging Face tokenizer gives besides, unless it is told otherwise: zeros, which are ignored."""

ALIASES = {"input_ids": "token_ids", "attention_mask": "padding_mask"}
"""Hugging Face's names, and ours."""

AT_ONCE = 1024
"""Tokens that are computed at a time: enough for large matrix products."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """One example that has valid tokens: where they stand among the packed ones, and at which positions."""

    example: int  # b
    tokens: slice  # of the N packed tokens
    positions: slice | Integers  # of the T positions; a slice when no hole is between them


Sequences = list[tuple[Sequence, Integers]]
"""Sequences, each with the relative row of every pair of its valid tokens."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The valid tokens of a batch, packed one example after another, and the way back."""

    token_ids: Integers  # (N,)   PAD-ABSENT: only theirs
    mask: NDArray[np.bool_]  # (B, T)

    @property
    def length(self) -> int:
        """T, padding included."""
        return int(self.mask.shape[1])

    @cached_property
    def sequences(self) -> tuple[Sequence, ...]:
        """The examples that have valid tokens."""
        ends = self.mask.sum(axis=1).cumsum().tolist()
        return tuple(
            Sequence(b, slice(start, end), _positions(self.mask[b]))
            for b, (start, end) in enumerate(pairwise([0, *ends]))
            if start < end
        )

    def parts(self) -> Iterator[tuple[slice, Batch]]:
        """The same batch a few examples at a time, and which ones: up to ``AT_ONCE`` tokens, or a single example.

        So what is computed on the way takes no more memory for a large batch than for a small one.
        """
        ends = self.mask.sum(axis=1).cumsum()
        if not len(self.mask):
            yield slice(0), self
        first, start = 0, 0
        while first < len(self.mask):
            last = max(first + 1, int(np.searchsorted(ends, start + AT_ONCE, "right")))
            end = int(ends[last - 1])
            yield slice(first, last), Batch(self.token_ids[start:end], self.mask[first:last])
            first, start = last, end


def pack(inputs: Inputs, params: Params, *, allow_long: bool = False) -> Batch:
    """The valid tokens of ``inputs``, a mapping of ``token_ids`` and ``padding_mask``, each (B, T), integers.

    Their aliases are ``input_ids`` and ``attention_mask``. Booleans, any integer type and nested lists are taken;
    nothing is changed in place. Raises ValueError, or TypeError where a type is wrong, that names the entry and says
    what came and what is allowed.
    """
    if not isinstance(params, Params):
        raise TypeError(f"params must be a deberta_ref.Params, as from_preset or init gives; got {params!r:.60}.")
    config = params.config
    if not isinstance(inputs, Mapping):
        raise TypeError(f"inputs must be a mapping with {' and '.join(KEYS)}; got {type(inputs).__name__}.")
    given = _by_our_names(inputs)
    faults = [f"{key} is missing" for key in KEYS if key not in given]
    faults += [f"{key!r} is unknown" for key in given if key not in {*KEYS, TYPES}]
    if faults:  # IN-KEYS
        raise ValueError(
            f"inputs must have token_ids (or input_ids) and padding_mask (or attention_mask) and nothing else; "
            f"{' and '.join(faults)}."
        )
    ids = _integers("token_ids", given["token_ids"])
    mask = _integers("padding_mask", given["padding_mask"])
    if mask.shape != ids.shape:  # IN-MASK
        raise ValueError(f"padding_mask must have the shape of token_ids, {ids.shape}; got {mask.shape}.")
    _check_length(ids.shape[1], config, allow_long=allow_long)
    _check_range("token_ids", ids, 0, config.vocabulary_size - 1, "the vocabulary's")  # IN-IDS
    _check_range("padding_mask", mask, 0, 1, "1 for a valid token and 0 for a padded one")  # IN-MASK
    if TYPES in given:
        _check_types(_integers(TYPES, given[TYPES]), ids.shape)
    return _packed(ids.astype(np.intp), mask.astype(np.bool_))


def _by_our_names(inputs: Inputs) -> dict[str, ArrayLike]:
    """The inputs with each alias replaced by its name in ``KEYS``."""
    for alias, key in ALIASES.items():
        if alias in inputs and key in inputs:
            raise ValueError(f"inputs must have {key} or {alias}, two names of one input; got both: leave one out.")
    return {ALIASES.get(key, key): value for key, value in inputs.items()}


def _packed(ids: Integers, mask: NDArray[np.bool_]) -> Batch:
    return Batch(ids[mask], mask)


def _positions(valid: NDArray[np.bool_]) -> slice | Integers:
    positions = np.flatnonzero(valid)  # PAD-POSITIONS: as they were before the padding was left out
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if last - first + 1 == positions.size else positions


def _check_length(length: int, config: Config, *, allow_long: bool) -> None:
    most = config.max_sequence_length
    if length < 1:  # IN-LENGTH
        raise ValueError(f"token_ids must have at least one position: T from 1 to {most}; got T = 0.")
    if length > most and not allow_long:  # IN-LENGTH, REL-LONG
        raise ValueError(
            f"token_ids may have up to max_sequence_length = {most} positions; got T = {length}: cut the text, or "
            f"allow_long=True (--allow-long) to go beyond what the model was trained for."
        )
    check_distance(length - 1, config.bucket_size, most)  # REL-LONG


def _integers(name: str, value: Any) -> NDArray[Any]:
    """``value`` as an array of rank 2 with an integer type, or of Python integers too large for one."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array; got a masked one: say what is valid in padding_mask.")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a rectangle, (B, T); got rows of different lengths.") from None
    except RuntimeError as error:  # of a framework's tensor
        raise TypeError(f"{name} must be an array; got a {type(value).__name__} that is none: {error}.") from None
    if array.ndim == 0 and array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must have 2 axes, (B, T); got a {type(value).__name__}.")
    if array.ndim != 2:
        hint = ": one text is a batch of one, so give [ids]" if array.ndim == 1 else ""
        raise ValueError(f"{name} must have 2 axes, (B, T); got {array.ndim}, of shape {array.shape}{hint}.")
    if array.dtype.kind == "b" or (array.size == 0 and not isinstance(value, np.ndarray)):
        return array.astype(np.intp)  # an empty list has no type of its own
    if array.dtype.kind in "iu" or (
        array.dtype.kind == "O" and all(isinstance(v, (int, np.integer)) for v in array.flat)
    ):
        return array
    raise TypeError(f"{name} must be integers; got {array.dtype}: cast it to int32.")


def _check_types(types: NDArray[Any], shape: tuple[int, ...]) -> None:
    if types.shape != shape:  # IN-KEYS
        raise ValueError(f"{TYPES} must have the shape of token_ids, {shape}, or be left out; got {types.shape}.")
    if types.any():  # IN-KEYS
        raise ValueError(
            f"{TYPES} must be zeros, since DeBERTaV3 has no token types; got {types[types != 0][0]}: leave them "
            f"out (a Hugging Face tokenizer does so with return_token_type_ids=False)."
        )


def _check_range(name: str, array: NDArray[Any], least: int, most: int, meaning: str) -> None:
    outside = (array < least) | (array > most)
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"{name} must be in {least} … {most}, {meaning}; got {array[place]} at {list(place)}.")
