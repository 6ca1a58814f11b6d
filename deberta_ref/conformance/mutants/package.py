"""The mistakes in what this package makes besides: recipe, files, summaries, scores, verdicts. Chapters 9 to 13."""

from __future__ import annotations

from deberta_ref.conformance.mutants.mutant import Mutant

FILES, JUDGE, NOISE, RECIPE, SUMMARY, TAPS = (
    f"deberta_ref.{name}"
    for name in (
        "checkpoints.huggingface",
        "conformance.judge",
        "conformance.noise",
        "recipe",
        "conformance.summary",
        "taps",
    )
)

MUTANTS = (
    Mutant(
        "taps-of-padded-tokens-filled",
        "VEC-PADDED",
        "A tap shows at padded positions what the padded token has there, not zeros.",
        TAPS,
        "laid_out[batch.mask] = value[:-1]",
        "laid_out[...] = value[batch.index]",
        shows="package",
    ),
    Mutant(
        "summary-without-signs",
        "VEC-SUMMARY",
        "A summary adds the features up, so that mistakes of both signs cancel.",
        SUMMARY,
        "1.0 - 2.0 * highest",
        "1.0 + 0.0 * highest",
        shows="package",
    ),
    Mutant(
        "weights-written-in-out",
        "VEC-FILES",
        "A checkpoint's weights are written as (in, out), as Keras has them.",
        FILES,
        "np.ascontiguousarray(array)",
        "np.ascontiguousarray(array.T)",
        shows="package",
    ),
    Mutant(
        "mixer-shifted-by-32",
        "REC-MIXER",
        "The last shift of the mixer is by 32 bits, not 31.",
        RECIPE,
        "z >> np.uint64(31)",
        "z >> np.uint64(32)",
        shows="package",
    ),
    Mutant(
        "factor-of-the-outputs",
        "REC-FACTORS",
        "The factor of a weight follows from the number of its outputs, not its inputs.",
        RECIPE,
        "// shape[1])",
        "// shape[0])",
        shows="package",
    ),
    Mutant(
        "draws-around-a-half",
        "REC-VALUES",
        "A draw is centred by 4096, not 4095, so that values are even multiples and zero is one of them.",
        RECIPE,
        "- 4095",
        "- 4096",
        shows="package",
    ),
    Mutant(
        "ids-by-the-remainder",
        "REC-IDS",
        "Token ids are the remainders of the draws, not their scaled high halves.",
        RECIPE,
        "((high * np.uint64(config.vocabulary_size)) >> np.uint64(32))",
        "(high % np.uint64(config.vocabulary_size))",
        shows="package",
    ),
    Mutant(
        "ensemble-of-one",
        "NOISE-FLOOR",
        "All members of the ensemble round alike.",
        NOISE,
        "default_rng([seed, member])",
        "default_rng([seed])",
        shows="package",
    ),
    Mutant(
        "score-of-the-mean-alone",
        "NOISE-SCORE",
        "The largest error does not count, so that one wrong number among thousands passes.",
        NOISE,
        "max(_multiple(size.rms, floor[name].rms), _multiple(size.max, floor[name].max))",
        "_multiple(size.rms, floor[name].rms)",
        shows="package",
    ),
    Mutant(
        "limit-a-thousand-times",
        "JUDGE-LIMIT",
        "A value is wrong only from thousands of noise multiples on, as a tolerance of 1e-3 has it.",
        JUDGE,
        "score > LIMIT]",
        "score > LIMIT * 1000]",
        shows="package",
    ),
    Mutant(
        "faults-forgiven",
        "JUDGE-CASE",
        "A case passes though a part of the answer could not be compared.",
        JUDGE,
        '"error" if answer.faults else "pass"',
        '"pass"',
        shows="package",
    ),
    Mutant(
        "last-wrong-tap-named",
        "JUDGE-FIRST",
        "The tap that is named is the last wrong one, to which the error has spread.",
        JUDGE,
        "wrong[0] if wrong",
        "wrong[-1] if wrong",
        shows="package",
    ),
    Mutant(
        "skipped-cases-count",
        "JUDGE-CONFORMS",
        "A case that was skipped counts as judged, so that a port which answers nothing conforms.",
        JUDGE,
        "set(needed) - {v.id for v in judged}",
        "set(needed) - {v.id for v in verdicts}",
        shows="package",
    ),
)
