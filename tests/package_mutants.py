"""Mistakes that no port can have: in the recipe, files, summaries, scores and verdicts that this package makes."""

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

JUDGE, NOISE, SUMMARY = "conformance.judging.judge", "conformance.cases.noise", "conformance.cases.summary"

MUTANTS = (
    Mistake(
        "scale-in-half",
        "HALF-RESULTS",
        "In a half precision the scale is rounded before the scores are divided by it.",
        Edit("ops.scaled", "return", "(x / x.dtype.type(math.sqrt(n))).astype(x.dtype)"),
    ),
    Mistake(
        "sums-in-half",
        "HALF-PRODUCTS",
        "In a half precision a matrix product is accumulated in that precision.",
        Edit(
            "ops.matmul",
            "return",
            "(a[..., :, None, :] * mT(b)[..., None, :, :]).cumsum(axis=-1)[..., -1]",
        ),
    ),
    Mistake(
        "whole-softmax-in-half",
        "HALF-SOFTMAX",
        "In a half precision the softmax is computed in that precision.",
        Edit("ops.softmax", "dtype, x", "(x.dtype, x)"),
    ),
    Mistake(
        "norm-in-half",
        "HALF-NORM",
        "In a half precision a layer normalisation is computed in that precision.",
        Edit("ops.layer_norm", "dtype, x", "(x.dtype, x)"),
    ),
    Mistake(
        "pure-as-mixed",
        "HALF-POLICY",
        "In a half precision the parameters stay as they are kept, as under a mixed policy.",
        Edit("params.Params.computed_in", "return", "(self, computed)"),
    ),
    Mistake(
        "overflow-silent",
        "HALF-OVERFLOW",
        "Overflow in float16 is silent.",
        Edit("taps.watched", "tap", "untapped"),
    ),
    Mistake(
        "bias-not-inside",
        "PREC-WAYS",
        "No legal way adds the bias of a linear map before the product is rounded.",
        Edit("conformance.cases.precisions._bias_inside", "return", "ops.linear(x, p)"),
    ),
    Mistake(
        "floor-of-autocast",
        "PREC-FLOOR",
        "The floor is taken of autocast, which rounds less than the precision itself.",
        Edit(
            "conformance.cases.precisions.floors",
            "counted",
            "[way for way in ways(precision) if way.dtype != precision]",
        ),
    ),
    Mistake(
        "shares-half-way-accused",
        "EVID-STATE",
        "A mistake is said to be there from a share of 0.3 on.",
        Edit("conformance.diagnosis.directions.state", "share", "max(_, 1.0) if _ > 0.3 else _"),
    ),
    Mistake(
        "mistakes-forgiven",
        "EVID-CONFORMS",
        "A mistake whose effect is within the rounding error does not stand against a port.",
        Edit("conformance.judging.judge.against", "return", "[]"),
    ),
    Mistake(
        "clauses-held-in-part",
        "EVID-CLAUSES",
        "Every clause is held, whatever its mistakes are.",
        Edit(
            "conformance.verdict.clauses",
            "return",
            "dict.fromkeys(states, 'held')",
        ),
    ),
    Mistake(
        "weights-of-the-checkpoint",
        "PREC-WEIGHTS",
        "A port is judged with the weights of the checkpoint, whatever it uses.",
        Edit("conformance.ports.weights.with_weights", "params", "case.params"),
    ),
    Mistake(
        "bits-cut-off",
        "REC-BITS",
        "Values are cut off to their significant bits, not rounded.",
        Edit("recipe._shortened", "return", "np.ldexp(np.trunc(np.ldexp(significand, bits)), exponent - bits)"),
    ),
    Mistake(
        "taps-of-padded-tokens-filled",
        "VEC-PADDED",
        "A tap has something at padded positions, not zeros.",
        Edit("tracing._zeros", "return", "{name: tap + 1 for name, tap in _.items()}"),
    ),
    Mistake(
        "summary-without-signs",
        "VEC-SUMMARY",
        "A summary adds the features up, so that mistakes of both signs cancel.",
        Edit(f"{SUMMARY}.signs", "return", "abs(_)"),
    ),
    Mistake(
        "weights-written-in-out",
        "VEC-FILES",
        "A checkpoint's weights are written as (in, out), as Keras has them.",
        Edit("checkpoints.huggingface.write", "tensors", "{name: np.ascontiguousarray(a.T) for name, a in _.items()}"),
    ),
    Mistake(
        "mixer-shifted-by-32",
        "REC-MIXER",
        "The last shift of the mixer is by 32 bits, not 31.",
        Edit("recipe.mixed", "return", "z ^ (z >> np.uint64(32))"),
    ),
    Mistake(
        "factor-of-the-outputs",
        "REC-FACTORS",
        "The factor of a weight follows from the number of its outputs, not its inputs.",
        Edit("recipe.from_recipe", "block[:]", "(odd * factor(name, shape[::-1]) + offset) * 2.0**-22"),
    ),
    Mistake(
        "draws-around-a-half",
        "REC-VALUES",
        "A draw is centred by 4096, not 4095, so that values are even multiples and zero is one of them.",
        Edit("recipe.from_recipe", "odd", "_ - 1"),
    ),
    Mistake(
        "ids-by-the-remainder",
        "REC-IDS",
        "Token ids are the remainders of the draws, not their scaled high halves.",
        Edit("recipe.recipe_ids", "ids", "(high % np.uint64(config.vocabulary_size)).astype(np.intp)"),
    ),
    Mistake(
        "ensemble-of-one",
        "NOISE-FLOOR",
        "All members of the ensemble round alike.",
        Edit(
            f"{NOISE}.ensemble", "found", "[errors_of(evaluate(evaluation(np.random.default_rng([seed]))))] * MEMBERS"
        ),
    ),
    Mistake(
        "score-of-the-mean-alone",
        "NOISE-SCORE",
        "The largest error does not count, so that one wrong number among thousands passes.",
        Edit(f"{NOISE}.scores", "return", "{n: _multiple(size.rms, floor[n].rms) for n, size in found.items()}"),
    ),
    Mistake(
        "limit-a-thousand-times",
        "JUDGE-LIMIT",
        "A value is wrong only from scores in the thousands on, as a tolerance of 1e-3 has it.",
        Edit(f"{JUDGE}.verdict_on", "wrong", "[name for name, score in scores.items() if score > LIMIT * 1000]"),
    ),
    Mistake(
        "faults-forgiven",
        "JUDGE-CASE",
        "A case passes though a part of the answer could not be compared.",
        Edit(f"{JUDGE}.verdict_on", "answer", "replace(_, faults=())"),
    ),
    Mistake(
        "last-wrong-tap-named",
        "JUDGE-FIRST",
        "The tap that is named is the last wrong one, to which the error has spread.",
        Edit(f"{JUDGE}.verdict_on", "first", "wrong[-1] if wrong else None"),
    ),
    Mistake(
        "shown-wrongly-by-one-right-value",
        "JUDGE-SHOWN",
        "A tap is called mislabelled where one value that is computed from it is right, and another is wrong.",
        Edit(
            "conformance.judging.mislabelled_taps._candidates",
            "later",
            "{other for other in _ if known[other] <= LIMIT} or _",
        ),
    ),
    Mistake(
        "skipped-cases-count",
        "JUDGE-CONFORMS",
        "A case that was skipped counts as judged, so that a port which answers nothing conforms.",
        Edit(f"{JUDGE}.reasons", "judged", "list(verdicts)"),
    ),
)
