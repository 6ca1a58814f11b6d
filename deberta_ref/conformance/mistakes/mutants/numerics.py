"""The mistakes in layer normalisation, GELU, softmax and types. Chapter 6 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

INNER = "model.after_attention", "feedforward.inner"


def epsilon(value: str) -> Edit:
    """Another number that is added to the variance."""
    return Edit("ops.layer_norm", "epsilon", f"np.ldexp(x.dtype.type({value}), -2 * exponent)")


MUTANTS = (
    Mistake(
        "variance-over-d-minus-1",
        "NORM-DEFINITION",
        "The variance is divided by D − 1, not D.",
        Edit(
            "ops.layer_norm",
            "variance",
            "np.square(centred).sum(axis=-1, keepdims=True) / max(x.shape[-1] - 1, 1)",
        ),
    ),
    Mistake(
        "epsilon-outside-the-root",
        "NORM-DEFINITION",
        "Epsilon is added to the deviation, not to the variance.",
        Edit(
            "ops.layer_norm",
            "deviation",
            "np.maximum(np.sqrt(variance) + np.ldexp(x.dtype.type(EPSILON), -exponent), np.finfo(x.dtype).tiny)",
        ),
    ),
    Mistake(
        "norm-without-mean",
        "NORM-DEFINITION",
        "The mean is not subtracted.",
        Edit("ops.layer_norm", "normalised", "np.divide(x, deviation, out=centred)"),
    ),
    Mistake(
        "norm-without-scale",
        "NORM-DEFINITION",
        "The scale of a layer normalisation is left out.",
        Edit("ops.layer_norm", "normalised *=", "1"),
    ),
    Mistake(
        "norm-without-bias",
        "NORM-DEFINITION",
        "The bias of a layer normalisation is left out.",
        Edit("ops.layer_norm", "normalised +=", "0"),
    ),
    Mistake("epsilon-1e-5", "NORM-EPSILON", "Epsilon is 1e-5.", epsilon("1e-5")),
    Mistake("epsilon-1e-6", "NORM-EPSILON", "Epsilon is 1e-6.", epsilon("1e-6")),
    Mistake("epsilon-1e-12", "NORM-EPSILON", "Epsilon is 1e-12.", epsilon("1e-12")),
    Mistake(
        "norm-squares-unscaled",
        "NORM-RANGE",
        "Values are squared as they come, and overflow.",
        Edit("ops.layer_norm", "exponent", "np.zeros_like(_)"),
        ("PyTorch", "Keras", "ONNX Runtime"),
        "operation",
    ),
    Mistake(
        "norm-large-mean-rounded",
        "NORM-RANGE",
        "What the rounding of a large mean leaves over is not subtracted.",
        Edit("ops.layer_norm", "centred -=", "0"),
        shows="operation",
    ),
    Mistake(
        "gelu-tanh",
        "GELU-ERF",
        "GELU is the tanh approximation.",
        Edit(*INNER, "0.5 * (u := linear(x, p.up)) * (1 + np.tanh((2 / np.pi) ** 0.5 * (u + 0.044715 * u**3)))"),
        ("deberta.cpp before 6fefa35",),
    ),
    Mistake(
        "gelu-sigmoid",
        "GELU-ERF",
        "GELU is the approximation x · sigmoid(1.702 x).",
        Edit(*INNER, "(u := linear(x, p.up)) / (1 + np.exp(-1.702 * u))"),
    ),
    Mistake(
        "gelu-1-plus-erf",
        "GELU-ACCURACY",
        "GELU in float64 is ½ · x · (1 + erf), which loses the negative tail.",
        Edit(
            "fast.gelu.gelu",
            "evaluate",
            "np.vectorize(lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))), otypes=[x.dtype])",
        ),
        shows="operation",
    ),
    Mistake(
        "gelu-interpolated-coarsely",
        "GELU-ACCURACY",
        "GELU in float32 has 32 lines a unit, not 2048.",
        Edit("fast.gelu", "FLOAT32_LINES_PER_UNIT", "32"),
        shows="operation",
    ),
    Mistake(
        "softmax-unshifted",
        "NUM-SOFTMAX",
        "The largest score is not subtracted before the exponential.",
        Edit("ops.softmax", "exp", "x.copy()"),
    ),
    Mistake(
        "softmax-in-half",
        "NUM-DTYPE",
        "The softmax is computed in float16.",
        Edit("ops.softmax", "np.exp", "np.copyto(exp, np.exp(exp.astype(np.float16)))"),
    ),
    Mistake(
        "weights-in-half",
        "NUM-DTYPE",
        "The weights of linear maps are rounded to float16.",
        Edit("ops.linear", "weight, bias", "(p.weight.astype(np.float16).astype(x.dtype), _[1])"),
    ),
    Mistake(
        "products-in-half",
        "NOISE-LEGAL",
        "The operands of matrix products are rounded to 11 bits, as TensorFloat-32 has.",
        Edit("ops.matmul", "return", "np.matmul(a.astype(np.float16), b.astype(np.float16), dtype=a.dtype)"),
    ),
)
