"""What the golden cases of single operations are. ``generate.py`` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from plans import Draft

from deberta_ref import Config
from deberta_ref.positions import relative_row
from deberta_ref.recipe import mixed

SIZES = (
    *((256, 512), (64, 512), (128, 512), (32, 512), (512, 514), (255, 512), (256, 1024), (48, 2048)),
    *((8, 16), (7, 20), (9, 40), (3, 17), (2, 12), (100, 300), (256, 5)),
)
"""(bucket_size, max_sequence_length) of the tables of rows; none has an exact tie, where ports may round either way."""


def draws(stream: int, *shape: int) -> Any:
    """Numbers between −1 and 1 of the recipe's mixer, odd multiples of 2⁻¹², exact in float32."""
    highest = (mixed(0, stream, 0, int(np.prod(shape))) >> np.uint64(52)).astype(np.int64)
    return ((2 * highest - 4095) / 4096).astype(np.float32).reshape(shape)


def operations() -> Iterator[Draft]:
    """The drafts of the suite ``ops``."""
    yield _draft(
        "linear",
        "linear",
        "A linear map of ten features to ten: the weight is square, so a missing transposition fits.",
        ("ATT-PROJECTIONS",),
        {"x": draws(0, 6, 10), "weight": draws(1, 10, 10), "bias": draws(2, 10)},
    )
    yield from _norms()
    yield _gelu("gelu", "GELU from −40 to 40, where it is x, 0, and everything between.", np.arange(-320, 321) / 8)
    yield _gelu("gelu-near-zero", "GELU of small numbers down to 2⁻⁴⁰, where it is half of x.", _near_zero())
    yield _gelu("gelu-tail", "GELU from −14 to −4, where ½ · x · (1 + erf) cancels.", np.arange(-224, -63) / 16)
    yield from _softmaxes()
    yield from _gathers()
    for bucket_size, length in SIZES:
        yield _rows(bucket_size, length)


def _draft(name: str, operation: str, exercises: str, clauses: tuple[str, ...], inputs: dict[str, Any]) -> Draft:
    return Draft(f"ops/{name}", exercises, clauses, inputs, {"operation": operation})


def _norms() -> Iterator[Draft]:
    D = 48
    x, scale, bias = draws(3, 8, D), 1 + draws(4, D) / 4, draws(5, D) / 8
    constants = np.array([0, 1, -2, 0.5, 3, -1, 0.25, 7], np.float32)[:, None] * np.ones((1, D), np.float32)
    for name, exercises, clauses, rows in (
        ("", "A layer normalisation of rows with a spread near 1.", ("NORM-DEFINITION",), x),
        (
            "-tiny-variance",
            "A layer normalisation of rows whose variance is near epsilon, from 2⁻³⁰ to 2⁻¹⁶.",
            ("NORM-EPSILON", "NORM-DEFINITION"),
            x * np.float32(2.0) ** np.arange(-15, -7, dtype=np.float32)[:, None],
        ),
        (
            "-large-mean",
            "A layer normalisation of rows with a mean of 4096 and a spread below 1.",
            ("NORM-RANGE",),
            4096 + draws(6, 8, D).astype(np.float16).astype(np.float32) / 2,
        ),
        (
            "-constant-row",
            "A layer normalisation of rows without any spread: the bias.",
            ("NORM-DEFINITION",),
            constants,
        ),
        (
            "-huge",
            "A layer normalisation of rows whose squares exceed float32, up to 2¹²⁰.",
            ("NORM-RANGE",),
            x * np.float32(2.0) ** np.arange(64, 128, 8, dtype=np.float32)[:, None],
        ),
    ):
        inputs = {"x": rows.astype(np.float32), "scale": scale, "bias": bias}
        yield _draft(f"layer-norm{name}", "layer_norm", exercises, clauses, inputs)


def _near_zero() -> Any:
    powers = 2.0 ** -np.arange(0.0, 41.0)
    return np.concatenate([-powers, [0.0], powers[::-1]])


def _gelu(name: str, exercises: str, x: Any) -> Draft:
    return _draft(name, "gelu", exercises, ("GELU-ERF",), {"x": x.astype(np.float32)})


def _softmaxes() -> Iterator[Draft]:
    T = 12
    x = 4 * draws(7, 6, T)
    tail = np.tri(6, T, 6, dtype=np.int64)  # 7 keys of 12, then one more a row
    holes = np.ones((6, T), np.int64)
    for n in range(6):
        holes[n, n :: n + 2] = 0
    equal = [[0.0] * T, [5] * T, [3, 3, *[-1] * 10], [*[-2] * 11, -2.5], [9, 1] * 6, [7] * 6 + [-7] * 6]
    large = [[1e4, -1e4] * 6, [-1e4] * 12, [1e4] * 12, [1e4, 9999, 9998, *[0] * 9], [-1e4, -9999, *[-1e4] * 10]]
    ties, huge = np.array(equal, np.float32), np.array(large, np.float32)
    for name, exercises, scores, mask in (
        ("", "A softmax over twelve keys, with a spread near 2.", x, np.ones_like(holes)),
        ("-tail", "A softmax whose last keys are padded.", x, tail),
        ("-holes", "A softmax with padded keys between the others.", x, holes),
        ("-ties", "A softmax of equal scores: all, two, half of them.", ties, np.ones_like(holes)),
        ("-huge", "A softmax of scores of ±10⁴, whose exponentials overflow.", huge, np.ones((5, T), np.int64)),
    ):
        clauses = ("ATT-PROBS", "NUM-SOFTMAX")
        yield _draft(f"softmax{name}", "softmax", exercises, clauses, {"x": scores, "mask": mask})


def _gathers() -> Iterator[Draft]:
    config = Config(1, 1, 1, 1, 1, max_sequence_length=12, bucket_size=4)
    row = relative_row(9, config).astype(np.int64)
    products = np.arange(2 * 9 * 8, dtype=np.float32).reshape(2, 9, 8)  # every place has its own number
    for term, whose in (("c2p", "queries with relative keys"), ("p2c", "keys with relative queries")):
        exercises = f"{term} of products of {whose}: every number names its head, token and row."
        inputs = {"products": products, "row": row}
        yield _draft(f"gather-{term}", f"gather_{term}", exercises, (f"ATT-{term.upper()}",), inputs)


def _rows(bucket_size: int, length: int) -> Draft:
    longest = length - 1 if bucket_size // 2 >= length - 1 else length + 7  # beyond it: REL-LONG
    distance = np.concatenate([np.arange(longest + 1), -np.arange(1, longest + 1)]).astype(np.int32)
    sizes = {"bucket_size": bucket_size, "max_sequence_length": length}
    return _draft(
        f"rows-{bucket_size}-{length}",
        "row",
        f"The row of every distance at ({bucket_size}, {length}), up to {longest}.",
        ("REL-BUCKET", "REL-LONG", "REL-ROW") if longest > length else ("REL-BUCKET", "REL-ROW"),
        {"distance": distance, **{name: np.array([size], np.int32) for name, size in sizes.items()}},
    )
