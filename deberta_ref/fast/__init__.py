"""The operations of ops.py that are slow as defined there, made fast. tests/test_fast.py holds each to its definition.

``gelu`` and ``relative_products`` compute the same numbers in another way, to within rounding. ``folded`` caches what
depends on parameters alone. ``linear`` and ``layer_norm`` are the definitions themselves, cached where both arguments
are parameters or come from them alone: the relative embeddings are projected once, tokens each time.
``a_few_heads_at_a_time`` keeps the temporaries of attention in the processor's cache.
"""

from deberta_ref import ops
from deberta_ref.fast.blocks import a_few_heads_at_a_time
from deberta_ref.fast.folding import folded
from deberta_ref.fast.gelu import gelu
from deberta_ref.fast.relative_products import relative_products

__all__ = ["a_few_heads_at_a_time", "folded", "gelu", "layer_norm", "linear", "relative_products"]

linear = folded(ops.linear)
layer_norm = folded(ops.layer_norm)
