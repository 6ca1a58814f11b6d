"""The mistakes in what comes in. Chapter 1 of spec/."""

from __future__ import annotations

from deberta_ref.conformance.cases.variants import Edit
from deberta_ref.conformance.mistakes.mistake import Mistake

PACK = "inputs.pack"

MUTANTS = (
    Mistake(
        "heads-do-not-divide",
        "IN-CONFIG",
        "A hidden_dim that is no multiple of num_heads is accepted.",
        Edit("config.Config.__post_init__", "_check_heads", "None"),
        ("transformers, until the first layer",),
        "refusal",
    ),
    Mistake(
        "bucket-size-1",
        "IN-CONFIG",
        "A bucket_size of 1 is accepted.",
        Edit("config.Config.__post_init__", "least", "1"),
        shows="refusal",
    ),
    Mistake(
        "forgotten-mask-is-ones",
        "IN-KEYS",
        "A padding_mask that is not given is taken for ones.",
        Edit(PACK, "given", '{"padding_mask": np.ones_like(_["token_ids"]), **_}'),
        ("transformers",),
        "refusal",
    ),
    Mistake(
        "unknown-inputs-ignored",
        "IN-KEYS",
        "An input that the model does not have is ignored.",
        Edit(PACK, "given", "{key: value for key, value in _.items() if key in KEYS}"),
        shows="refusal",
    ),
    Mistake(
        "negative-ids-from-the-end",
        "IN-IDS",
        "A negative id counts from the end of the vocabulary.",
        Edit(PACK, "ids", "np.where(_ < 0, _ + config.vocabulary_size, _)"),
        shows="refusal",
    ),
    Mistake(
        "ids-clipped",
        "IN-IDS",
        "An id outside the vocabulary is clipped to it.",
        Edit(PACK, "ids", "np.clip(_, 0, config.vocabulary_size - 1)"),
        ("KerasHub on JAX",),
        "refusal",
    ),
    Mistake(
        "id-0-is-padding",
        "IN-IDS",
        "A token of id 0 is taken for padding, whatever the mask says.",
        Edit("inputs._packed", "return", "(lambda mask: _)(mask & (ids != 0))"),
    ),
    Mistake(
        "mask-values-unchecked",
        "IN-MASK",
        "A mask with other values than 0 and 1 is accepted.",
        Edit(PACK, "mask", "(_ != 0).astype(np.intp)"),
        shows="refusal",
    ),
    Mistake(
        "mask-broadcast",
        "IN-MASK",
        "A mask of another shape is stretched to that of the ids.",
        Edit(PACK, "mask", "np.broadcast_to(_, ids.shape)"),
        shows="refusal",
    ),
    Mistake(
        "mask-inverted",
        "IN-MASK",
        "The mask is read as 1 for a padded token.",
        Edit("inputs._packed", "return", "(lambda mask: _)(~mask)"),
    ),
    Mistake(
        "mask-of-the-first-example",
        "IN-MASK",
        "The mask of the first example serves the whole batch.",
        Edit("inputs._packed", "return", "(lambda mask: _)(np.broadcast_to(mask[:1], mask.shape))"),
    ),
    Mistake(
        "long-without-asking",
        "IN-LENGTH",
        "More than max_sequence_length tokens are served without being asked for.",
        Edit(PACK, "_check_length", "_check_length(ids.shape[1], config, allow_long=True)"),
        ("transformers", "KerasHub"),
        "refusal",
    ),
)
