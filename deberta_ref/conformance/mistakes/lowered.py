"""What is computed less exactly than in float32: half precisions, all or a part of a model in them, and 8 bits.

Data, as the mutants are. Each way is the reference with some operations rounded; a port that computes so rounds almost
the same numbers, and so gives almost the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from deberta_ref import ops
from deberta_ref.conformance.cases.precisions import Way, cut, of_attention, products, tf32
from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.loading import bfloat16
from deberta_ref.conformance.mistakes.mistake import Lowered, Mistake, Returned, Rounding
from deberta_ref.conformance.mistakes.quantised import TOKENS, Scheme, affine, signed_largest, stored, symmetric
from deberta_ref.fast import gelu
from deberta_ref.params import Linear
from deberta_ref.precision import Array

Functions = Mapping[str, Callable[..., Any]]


def float16(x: Any) -> Any:
    """The nearest numbers of float16, as float32."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16).astype(np.float32)


def int8(x: Any) -> Any:
    """The nearest of 255 evenly spaced numbers, scaled to the largest in ``x``."""
    step = abs(x).max(initial=0) / 127 or 1
    return (np.rint(x / step) * step).astype(np.float32)


def softmax(rounding: Rounding) -> Functions:
    """The softmax of rounded scores, rounded."""
    return {"softmax": lambda x: rounding(ops.softmax(rounding(x)))}


def exponentials(rounding: Rounding) -> Functions:
    """The softmax with only the exponential and its argument rounded; summed in float32."""

    def softmax(x: Any) -> Any:
        exp = rounding(np.exp(rounding(x - x.max(axis=-1, keepdims=True))))
        return exp / exp.sum(axis=-1, keepdims=True)

    return {"softmax": softmax}


def everything(rounding: Rounding) -> dict[str, Callable[..., Any]]:
    """Every operation computed in float32, with its operands and its result rounded."""

    def matmul(a: Any, b: Any) -> Any:
        return rounding(np.matmul(rounding(a), rounding(b)))

    return {
        **of_attention(matmul),
        "linear": lambda x, p: rounding(matmul(x, p.weight.T.astype(np.float32)) + rounding(p.bias)),
        **normalised(rounding),
        "gelu": lambda x: rounding(gelu(x)),
        **softmax(rounding),
    }


def autocast(rounding: Rounding) -> Functions:
    """Matrix products with operands and results rounded; all else in float32, as under torch.autocast."""
    return {name: everything(rounding)[name] for name in ("matmul", "relative_products", "linear")}


def attention(rounding: Rounding) -> Functions:
    """Only the matrix products of attention, of rounded operands."""
    return of_attention(products(rounding)["matmul"])


def all_of_attention(rounding: Rounding) -> Functions:
    """Only attention: its products with their results, and its softmax, as in a half-precision kernel."""
    return {**of_attention(everything(rounding)["matmul"]), **softmax(rounding)}


def linear(rounding: Rounding) -> Functions:
    """Only linear maps, of rounded operands."""
    return {"linear": products(rounding)["linear"]}


def normalised(rounding: Rounding) -> Functions:
    """Only layer normalisation, of rounded numbers, rounded."""
    return {"layer_norm": lambda x, p: rounding(ops.layer_norm(rounding(x), p))}


def activated(rounding: Rounding) -> Functions:
    """Only GELU, of rounded numbers, rounded."""
    return {"gelu": lambda x: rounding(gelu(rounding(x)))}


BETWEEN_LAYERS = (Edit("model.after_attention", "output", "in_half(_)"),)
"""What goes from layer to layer is rounded."""

HIDDEN_STATES = (Edit("model.embed", "return", "in_half(_)"), *BETWEEN_LAYERS)
"""The embeddings are rounded as well."""

RESIDUALS = (
    Edit(
        "model.after_attention",
        "attention.output",
        "layer_norm(in_half(in_half(x) + in_half(linear(context, p.attention_output))), p.attention_norm)",
    ),
    Edit(
        "model.after_attention",
        "output",
        "layer_norm(in_half(in_half(x) + in_half(linear(inner, p.down))), p.feedforward_norm)",
    ),
)
"""Both sums of a layer are of rounded numbers, and rounded."""

SUMS = (
    Edit(
        "model.after_attention",
        "attention.output",
        "layer_norm(in_half(x + linear(context, p.attention_output)), p.attention_norm)",
    ),
    Edit("model.after_attention", "output", "layer_norm(in_half(x + linear(inner, p.down)), p.feedforward_norm)"),
)
"""Both sums of a layer are rounded."""

WITHOUT_RELATIVE = tuple(
    Edit("model.encoder_layer", f"attention.relative_{name}", f"split_heads(exactly(relative, p.{name}), num_heads)")
    for name in ("query", "key")
)
"""The projections of the relative embeddings stay exact: quantizers pass over weights that are used twice."""


def _float32(functions: Functions, *edits: Edit) -> Way:
    return Way("float32", functions, edits)


def per_tensor(x: Array, bits: int) -> Array:
    """Evenly spaced from the smallest number to the largest of the whole array, 0 among them."""
    return affine(x.reshape(1, -1), 0, bits).reshape(x.shape)


def per_token(x: Array, steps: float) -> Array:
    """Evenly spaced numbers for each token, so many up to the largest of it."""
    return symmetric(x.reshape(-1, x.shape[-1]), None, steps).reshape(x.shape)


def quantised(weights: Scheme, activations: Callable[[Array], Array]) -> Functions:
    """Linear maps whose weights and operands are rounded to whole multiples of a scale of their own."""

    def linear(x: Array, p: Linear) -> Array:
        return np.matmul(activations(x), weights(p.weight.astype(np.float32)).T) + p.bias.astype(np.float32)

    return {"linear": linear, "exactly": ops.linear}


def _in_half(type_: str, rounding: Rounding) -> Iterator[Mistake]:
    """One part of the model alone in a half precision."""
    alone = {"in_half": rounding}
    parts: dict[str, tuple[str, tuple[Way, ...]]] = {
        "autocast": (
            f"Matrix products take and return {type_}, as under autocast.",
            (_float32(autocast(rounding)),),
        ),
        "layer-norm": (f"Layer normalisation alone is computed in {type_}.", _both(normalised, rounding)),
        "gelu": (f"GELU alone is computed in {type_}.", _both(activated, rounding)),
        "hidden-state": (
            f"The hidden state is rounded to {type_} between the layers; all else is float32.",
            (_float32(alone, *HIDDEN_STATES), _float32(alone, *BETWEEN_LAYERS)),
        ),
        "residual": (
            f"The residual sums alone are computed in {type_}.",
            (_float32(alone, *RESIDUALS), _float32(alone, *SUMS)),
        ),
    }
    for part, (sentence, ways) in parts.items():
        yield Mistake(f"precision-{type_}-{part}", "NUM-DTYPE", sentence, Lowered(ways))


def _both(made: Callable[[Rounding], Functions], rounding: Rounding) -> tuple[Way, ...]:
    """Operands and results rounded, or results alone."""
    (name,) = made(rounding)
    exact: Callable[..., Any] = ops.layer_norm if name == "layer_norm" else gelu
    return _float32(made(rounding)), _float32({name: lambda *arguments: rounding(exact(*arguments))})


def _dynamic() -> Iterator[Mistake]:
    """Linear maps in 8 bits whose operands are rounded as they come, by the rules of ONNX Runtime and of PyTorch."""
    schemes: dict[str, tuple[str, Scheme]] = {
        "int8-onnxruntime": ("int8", partial(symmetric, size=0, steps=127)),
        "int8-onnxruntime-channels": ("int8, with a scale for each output", partial(symmetric, size=None, steps=127)),
        "uint8-onnxruntime": ("uint8", partial(affine, size=0, bits=8)),
        "uint8-onnxruntime-channels": ("uint8, with a scale for each output", partial(affine, size=None, bits=8)),
    }
    for name, (said, scheme) in schemes.items():
        functions = quantised(scheme, partial(per_tensor, bits=8))
        predicted = _predicted(_float32(functions, *WITHOUT_RELATIVE), _float32(functions))
        sentence = f"Dynamic quantization as ONNX Runtime's: weights {said}, operands of linear maps uint8"
        yield Mistake(f"precision-{name}-matmul", "NOISE-LEGAL", f"{sentence}; embeddings as they are.", predicted)
        effects = predicted, stored(partial(affine, size=0, bits=8), TOKENS)
        yield Mistake(f"precision-{name}", "NOISE-LEGAL", f"{sentence}, and the token embeddings uint8.", effects)
    torch = partial(symmetric, size=0, steps=127.5)
    yield Mistake(
        "precision-int8-torch",
        "NOISE-LEGAL",
        "Dynamic quantization as PyTorch's: weights int8, operands of linear maps 7 bits.",
        _predicted(*(_float32(quantised(torch, partial(per_tensor, bits=bits))) for bits in (7, 8))),
    )
    ways = (quantised(partial(symmetric, size=None, steps=n), partial(per_token, steps=n)) for n in (127.5, 127))
    yield Mistake(
        "precision-int8-tokens",
        "NOISE-LEGAL",
        "Weights are int8 with a scale for each output, and operands of linear maps int8 with a scale for each token.",
        _predicted(*map(_float32, ways)),
    )


def _blocks() -> Iterator[Mistake]:
    """Weights in blocks by ONNX Runtime's rules, which leave those of the relative embeddings."""
    for bits in (8, 4):
        schemes: dict[str, Scheme] = {
            "": partial(signed_largest, size=32, bits=bits),
            "-affine": partial(affine, size=32, bits=bits),
        }
        for name, scheme in schemes.items():
            yield Mistake(
                f"precision-int{bits}-onnxruntime-blocks{name}",
                "NOISE-LEGAL",
                f"Weights have {bits} bits in blocks, as ONNX Runtime's MatMulNBits, but those of relative embeddings.",
                _predicted(_float32(quantised(scheme, lambda x: x), *WITHOUT_RELATIVE)),
            )


def _predicted(*ways: Way) -> Lowered:
    """What only its values tell, not their size."""
    return Lowered(ways, by_size=False)


PRECISIONS = (
    Mistake(
        "precision-tf32-products",
        "NOISE-LEGAL",
        "Matrix products round their operands to TensorFloat-32 or float16.",
        Lowered((_float32(products(tf32)), _float32(products(cut(13)))), ("products-in-half",)),
    ),
    Mistake(
        "precision-bfloat16-products",
        "NOISE-LEGAL",
        "Matrix products round their operands to bfloat16.",
        Lowered((_float32(products(bfloat16)), _float32(products(cut(16))))),
    ),
    Mistake(
        "precision-float16-attention",
        "NOISE-LEGAL",
        "Only attention is computed in float16 or TensorFloat-32.",
        Lowered((_float32(attention(tf32)), _float32(all_of_attention(float16)))),
    ),
    Mistake(
        "precision-bfloat16-attention",
        "NOISE-LEGAL",
        "Only attention is computed in bfloat16.",
        Lowered((_float32(attention(bfloat16)), _float32(all_of_attention(bfloat16)))),
    ),
    Mistake(
        "precision-int8-products",
        "NOISE-LEGAL",
        "Linear maps round their operands to integers of 8 bits.",
        Lowered((_float32(linear(int8)),)),
    ),
    Mistake(
        "precision-half-softmax",
        "NUM-DTYPE",
        "The softmax is computed in float16.",
        Lowered((_float32(softmax(float16)), _float32(exponentials(float16))), ("softmax-in-half",)),
    ),
    Mistake(
        "precision-bfloat16-softmax",
        "NUM-DTYPE",
        "The softmax is computed in bfloat16.",
        Lowered((_float32(softmax(bfloat16)),)),
    ),
    Mistake(
        "precision-float16",
        "NUM-DTYPE",
        "Everything is computed in float16.",
        Lowered((_float32(everything(float16)), Way("float16", {}))),
    ),
    Mistake(
        "precision-bfloat16",
        "NUM-DTYPE",
        "Everything is computed in bfloat16.",
        Lowered((_float32(everything(bfloat16)), Way("bfloat16", {}))),
    ),
    *_in_half("float16", float16),
    *_in_half("bfloat16", bfloat16),
    *_dynamic(),
    *_blocks(),
)
"""The lower precisions that are recognised in a port that is judged in float32."""


RETURNED = (
    Mistake(
        "output-rounded-to-float16",
        "NUM-DTYPE",
        "The values are right and were computed in float32, but they were rounded to float16 before being returned.",
        Returned(float16, 11, -13),
    ),
    Mistake(
        "output-rounded-to-bfloat16",
        "NUM-DTYPE",
        "The values are right and were computed in float32, but they were rounded to bfloat16 before being returned.",
        Returned(bfloat16, 8, -125),
    ),
)
