"""The five published models: their sizes, and where their weights live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from deberta_ref.config import Config
from deberta_ref.params import num_params


@dataclass(frozen=True)
class Preset:
    """A published model.

    Parameters
    ----------
    config : Config
        Its sizes.
    description : str
        A sentence on it.
    huggingface : str
        Its repository on the Hugging Face hub, as org/name.

    Examples
    --------
    >>> from deberta_ref import presets
    >>> presets["deberta_v3_large_en"].config.num_layers
    24
    >>> presets["deberta_v3_large_en"].huggingface
    'microsoft/deberta-v3-large'
    """

    config: Config
    description: str
    huggingface: str

    @property
    def num_params(self) -> int:
        """The number of parameters, counted from the shapes.

        Examples
        --------
        >>> from deberta_ref import presets
        >>> presets["deberta_v3_large_en"].num_params
        434012160
        """
        return num_params(self.config)


class _Presets(dict[str, Preset]):
    """Presets by name; a name that is not there is refused with the one that was probably meant."""

    def __missing__(self, name: object) -> Preset:
        near = nearest(str(name))
        raise KeyError(f"presets has {', '.join(self)}; got {name!r}{f': did you mean {near!r}?' if near else '.'}")


presets: Mapping[str, Preset] = MappingProxyType(
    _Presets(
        {
            "deberta_v3_extra_small_en": Preset(
                Config(128100, num_layers=12, num_heads=6, hidden_dim=384, intermediate_dim=1536),
                "12 layers of width 384, English text in its own case.",
                "microsoft/deberta-v3-xsmall",
            ),
            "deberta_v3_small_en": Preset(
                Config(128100, num_layers=6, num_heads=12, hidden_dim=768, intermediate_dim=3072),
                "6 layers of width 768, English text in its own case.",
                "microsoft/deberta-v3-small",
            ),
            "deberta_v3_base_en": Preset(
                Config(128100, num_layers=12, num_heads=12, hidden_dim=768, intermediate_dim=3072),
                "12 layers of width 768, English text in its own case.",
                "microsoft/deberta-v3-base",
            ),
            "deberta_v3_large_en": Preset(
                Config(128100, num_layers=24, num_heads=16, hidden_dim=1024, intermediate_dim=4096),
                "24 layers of width 1024, English text in its own case.",
                "microsoft/deberta-v3-large",
            ),
            "deberta_v3_base_multi": Preset(
                Config(251000, num_layers=12, num_heads=12, hidden_dim=768, intermediate_dim=3072),
                "12 layers of width 768, text in about a hundred languages.",
                "microsoft/mdeberta-v3-base",
            ),
        }
    )
)
"""The published models by their names, read-only.

Raises
------
KeyError
    For another name, with the one that was probably meant.

Examples
--------
>>> from deberta_ref import presets
>>> list(presets)[:2]
['deberta_v3_extra_small_en', 'deberta_v3_small_en']
>>> presets["deberta_v3_base_en"].config.hidden_dim
768
"""


def nearest(name: str, *others: str) -> str | None:
    """The preset, or which of the ``others``, a name that is none probably means; a repository means its own preset."""
    if "/" in name:
        return next((preset for preset in presets if presets[preset].huggingface == name.lower()), None)
    meant = {name: name for name in (*presets, *others)}
    meant |= {preset.huggingface.partition("/")[2]: name for name, preset in presets.items()}
    return next((meant[near] for near in get_close_matches(name.lower(), meant, n=1, cutoff=0.75)), None)
