"""The parameters of a model: named, shaped, checked, frozen. Chapters 2 to 5 of spec/ say what each one is for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from deberta_ref.config import Config
from deberta_ref.ownership import own
from deberta_ref.precision import LARGEST, MIXED, STORED, Array, DType, DTypeLike, compute_dtype, known_dtype, rounded

if TYPE_CHECKING:
    from os import PathLike


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear map from ``in`` to ``out`` features, laid out as every PyTorch checkpoint has it."""

    weight: Array  # (out, in)
    bias: Array  # (out,)


@dataclass(frozen=True, eq=False)
class Norm:
    """The learned part of a layer normalisation over D features."""

    scale: Array  # (D,)
    bias: Array  # (D,)


@dataclass(frozen=True, eq=False)
class Layer:
    """One encoder layer, in the order in which it computes."""

    query: Linear  # D -> D
    key: Linear  # D -> D
    value: Linear  # D -> D
    attention_output: Linear  # D -> D
    attention_norm: Norm
    up: Linear  # D -> F
    down: Linear  # F -> D
    feedforward_norm: Norm


@dataclass(frozen=True, eq=False, repr=False)
class Params:
    """All parameters of an encoder, read-only. Build one with ``init``, ``from_preset`` or ``Params.from_arrays``.

    Two are equal if their configurations are, and their arrays bit for bit, types included. A copy or what pickle makes
    of one is equal to it, and read-only as well.

    Parameters
    ----------
    config : Config
        The sizes, in whose letters shapes are given here.
    token_embedding : array of float, (V, D)
        A row for each token id.
    embeddings_norm : Norm
        ``scale`` and ``bias``, (D,) each, of the layer normalisation of the embeddings.
    relative_embedding : array of float, (R, D)
        A row for each bucket of distances.
    relative_norm : Norm
        The same of the relative embeddings.
    layers : tuple of Layer
        ``num_layers`` of them. A linear map has a ``weight``, (out, in), and a ``bias``, (out,).

    Raises
    ------
    ValueError
        For arrays of other shapes than the configuration has.
    TypeError
        For arrays of other types than float16, float32 and float64.

    Examples
    --------
    >>> import copy
    >>> from deberta_ref import from_preset
    >>> params = from_preset("deberta_v3_demo_en")
    >>> params.token_embedding.shape, params.layers[0].up.weight.shape
    ((2008, 48), (192, 48))
    >>> params == copy.deepcopy(params)
    True
    >>> params.token_embedding[0] = 0
    Traceback (most recent call last):
    ValueError: assignment destination is read-only
    """

    config: Config
    token_embedding: Array  # (V, D)
    embeddings_norm: Norm
    relative_embedding: Array  # (R, D)
    relative_norm: Norm
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if len(self.layers) != self.config.num_layers:
            raise ValueError(
                f"layers must be {self.config.num_layers}, as in the configuration; got {len(self.layers)}."
            )
        _checked(shapes(self.config), self.arrays())  # whoever builds one otherwise is told as well

    @classmethod
    def from_arrays(cls, config: Config, arrays: Mapping[str, ArrayLike]) -> Params:
        """Parameters from arrays of one's own by their dotted names, as ``arrays`` gives them.

        Parameters
        ----------
        config : Config
            The sizes.
        arrays : mapping of str to array of float16, float32 or float64
            Every parameter, in the shape that the configuration has for it. Nothing is copied: whoever changes one of
            these arrays later changes the parameters.

        Returns
        -------
        Params
            Read-only views of the arrays.

        Raises
        ------
        ValueError
            With every name that is missing, unknown or of another shape.
        TypeError
            For values that are not floating-point numbers.

        Examples
        --------
        >>> from deberta_ref import Params, from_preset
        >>> params = from_preset("deberta_v3_demo_en")
        >>> doubled = {name: 2 * array for name, array in params.arrays().items()}
        >>> Params.from_arrays(params.config, doubled) == params
        False
        """
        if not isinstance(config, Config):
            raise TypeError(f"config must be a deberta_ref.Config; got {type(config).__name__}.")
        checked = _checked(shapes(config), arrays)

        def linear(name: str) -> Linear:
            return Linear(checked[f"{name}.weight"], checked[f"{name}.bias"])

        def norm(name: str) -> Norm:
            return Norm(checked[f"{name}.scale"], checked[f"{name}.bias"])

        def layer(name: str) -> Layer:
            return Layer(
                query=linear(f"{name}.query"),
                key=linear(f"{name}.key"),
                value=linear(f"{name}.value"),
                attention_output=linear(f"{name}.attention_output"),
                attention_norm=norm(f"{name}.attention_norm"),
                up=linear(f"{name}.up"),
                down=linear(f"{name}.down"),
                feedforward_norm=norm(f"{name}.feedforward_norm"),
            )

        return cls(
            config=config,
            token_embedding=checked["token_embedding"],
            embeddings_norm=norm("embeddings_norm"),
            relative_embedding=checked["relative_embedding"],
            relative_norm=norm("relative_norm"),
            layers=tuple(layer(f"layers.{n}") for n in range(config.num_layers)),
        )

    def arrays(self) -> dict[str, Array]:
        """Every array by its dotted name, in the order in which a forward pass meets them; nothing is copied.

        Returns
        -------
        dict of str to array of float
            The arrays, read-only.

        Examples
        --------
        >>> from deberta_ref import from_preset
        >>> arrays = from_preset("deberta_v3_demo_en").arrays()
        >>> list(arrays)[:3], arrays["layers.0.up.weight"].shape
        (['token_embedding', 'embeddings_norm.scale', 'embeddings_norm.bias'], (192, 48))
        """
        found: dict[str, Array] = {}
        for name in shapes(self.config):
            value: Any = self
            for part in name.split("."):
                value = value[int(part)] if part.isdecimal() else getattr(value, part)
            found[name] = value
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Params):
            return NotImplemented
        return self is other or (
            self.config == other.config and all(map(_same_bits, self.arrays().values(), other.arrays().values()))
        )

    def __hash__(self) -> int:
        return hash(self.config)

    def __copy__(self) -> Params:
        return self  # nothing in it can be changed

    def __reduce__(self) -> tuple[object, ...]:  # what pickle and copy.deepcopy make another one from
        return _restored, (self.config, self.arrays())

    def __repr__(self) -> str:
        return f"<Params: {self.num_params:,} numbers, {self.dtype}, {self.config}>"

    @property
    def num_params(self) -> int:
        """The number of parameters: of numbers, not of arrays.

        Examples
        --------
        >>> from deberta_ref import from_preset
        >>> from_preset("deberta_v3_demo_en").num_params
        205968
        """
        return num_params(self.config)

    @cached_property
    def dtype(self) -> DType:
        """The widest type that any of the parameters is kept in; float32 where some are float16 and some bfloat16.

        Examples
        --------
        >>> from deberta_ref import from_preset
        >>> from_preset("deberta_v3_demo_en").dtype
        dtype('float32')
        """
        types = {array.dtype for array in self.arrays().values()}
        return types.pop() if len(types) == 1 else np.result_type(np.float32, *(t for t in types if t.itemsize > 2))

    def computed_in(self, dtype: DTypeLike | None) -> tuple[Params, DType]:
        """What a forward pass in ``dtype`` computes with: parameters, and the type of its values.

        In a half precision all parameters are of that type; under a mixed policy they stay as they are kept.

        Parameters
        ----------
        dtype : {'float64', 'float32', 'float16', 'bfloat16', 'mixed_float16', 'mixed_bfloat16'} or a type, optional
            By default the type of these parameters, but float32 at least.

        Returns
        -------
        tuple of Params and numpy.dtype
            These parameters, or for a half precision ``astype`` of them.

        Raises
        ------
        ValueError, TypeError, ImportError
            For another type, what names no type, or bfloat16 without ml_dtypes.

        Examples
        --------
        >>> from deberta_ref import from_preset
        >>> params, dtype = from_preset("deberta_v3_demo_en").computed_in("mixed_float16")
        >>> params.dtype, dtype
        (dtype('float32'), dtype('float16'))
        """
        computed = compute_dtype(dtype, self.dtype)
        mixed = isinstance(dtype, str) and dtype.startswith(MIXED)
        return (self if mixed or computed.itemsize > 2 else self.astype(computed)), computed  # HALF-POLICY

    def astype(self, dtype: DTypeLike) -> Params:
        """The same parameters, kept in another type.

        Parameters
        ----------
        dtype : {'float16', 'bfloat16', 'float32', 'float64'} or a NumPy type
            The type; bfloat16 needs the extra ``half``. A value is rounded to the nearest of that type.

        Returns
        -------
        Params
            New ones, or these themselves if all of their arrays have the type already. One that has it is shared.

        Raises
        ------
        ValueError
            For another type, or values that are too large for this one.
        TypeError
            For what names no type.

        Examples
        --------
        >>> from deberta_ref import from_preset
        >>> from_preset("deberta_v3_demo_en").astype("float16").dtype
        dtype('float16')
        """
        kept = known_dtype(dtype, STORED)
        arrays = self.arrays()
        if all(x.dtype == kept for x in arrays.values()):
            return self  # with all that fast/folding.py has cached for it
        return Params.from_arrays(self.config, {name: _cast(name, x, kept) for name, x in arrays.items()})

    def save(self, directory: str | PathLike[str]) -> None:
        """Write config.json and model.safetensors, as Hugging Face has them, each whole or not at all.

        Parameters
        ----------
        directory : str or path
            Where to. It is made if it is not there; files of these names are replaced.

        Raises
        ------
        OSError
            Where the files cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from deberta_ref import from_preset
        >>> params = from_preset("deberta_v3_demo_en")
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     params.save(directory)
        ...     from_preset(directory) == params
        True
        """
        from deberta_ref.checkpoints import huggingface  # noqa: PLC0415 - the layouts know Params, not the reverse

        huggingface.write(self, directory)


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by its dotted name in ``Params``, in the order in which they are met."""
    D, F = config.hidden_dim, config.intermediate_dim

    def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        return {f"{name}.scale": (D,), f"{name}.bias": (D,)}

    found: dict[str, tuple[int, ...]] = {"token_embedding": (config.vocabulary_size, D), **norm("embeddings_norm")}
    found |= {"relative_embedding": (config.num_relative, D), **norm("relative_norm")}
    for n in range(config.num_layers):
        for name in ("query", "key", "value", "attention_output"):
            found |= linear(f"layers.{n}.{name}", D, D)
        found |= norm(f"layers.{n}.attention_norm")
        found |= linear(f"layers.{n}.up", F, D)
        found |= linear(f"layers.{n}.down", D, F)
        found |= norm(f"layers.{n}.feedforward_norm")
    return found


def num_params(config: Config) -> int:
    """The number of parameters of a model of these sizes."""
    return sum(math.prod(shape) for shape in shapes(config).values())


def _cast(name: str, array: Array, kept: DType) -> Array:
    """An array in another type; ValueError if a number is too large for it."""
    if array.dtype == kept:
        return array
    with np.errstate(all="ignore"):  # of bfloat16, ml_dtypes says nothing either way
        cast = rounded(array, kept)
        lost = np.isinf(cast) > np.isinf(array)
    if lost.any():
        largest = float(abs(array[lost]).max())
        wide = " or ".join(other for other, most in LARGEST.items() if most >= largest)
        raise ValueError(
            f"{name} must be within ±{LARGEST[kept.name]:.6g}, the range of {kept}; got {largest:.6g}: use {wide}."
        )
    return own(cast)


def _restored(config: Config, arrays: Mapping[str, Array]) -> Params:
    """Parameters from the copies of arrays that were just made: read-only, and nobody else's."""
    copies = {name: array if array.flags.owndata else array.copy() for name, array in arrays.items()}  # or the pickle's
    return Params.from_arrays(config, {name: own(array) for name, array in copies.items()})


def _same_bits(one: Array, other: Array) -> bool:
    """Whether two arrays of one shape have the same type and bits, so that NaN equals itself and 0 is not −0."""
    if one.dtype != other.dtype:
        return False
    bits = f"u{one.itemsize}"
    return one is other or np.array_equal(one.view(bits), other.view(bits))


def _checked(wanted: Mapping[str, tuple[int, ...]], arrays: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Read-only views of the arrays, every name present and every shape and type right."""
    given = {}
    for name, value in arrays.items():
        try:
            given[name] = np.asarray(value)
        except (ValueError, RuntimeError) as error:  # noqa: PERF203 - rows of different lengths; a framework's tensor
            raise TypeError(f"{name} must be an array; got a {type(value).__name__}: {error}.") from None
    if faults := misfits(wanted, {name: array.shape for name, array in given.items()}):
        raise ValueError(f"These parameters do not fit the configuration: {'; '.join(faults)}.")
    for name, array in given.items():
        if array.dtype.name not in STORED or isinstance(arrays[name], np.ma.MaskedArray):
            raise TypeError(
                f"{name} must be of {', '.join(STORED)}; got {type(arrays[name]).__name__} of {array.dtype}."
            )
    checked = {name: array.view() for name, array in given.items()}
    for view in checked.values():
        view.flags.writeable = False
    return checked


def misfits(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """One phrase for every name that is missing, unknown, or has another shape than the wanted one."""
    faults = [f"{name} is missing, of shape {shape}" for name, shape in wanted.items() if name not in found]
    for name, shape in found.items():
        if name not in wanted:
            faults.append(f"{name} is unknown, of shape {shape}")
        elif shape != wanted[name]:
            fault = "is transposed, with" if shape == wanted[name][::-1] else "has"
            faults.append(f"{name} {fault} shape {shape} instead of {wanted[name]}")
    return sorted(faults)
