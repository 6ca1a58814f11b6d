"""The numerical oracle of the DeBERTaV3 encoder, in NumPy. Read model.py first."""

from deberta_ref.checkpoints import from_preset
from deberta_ref.config import Config
from deberta_ref.initialisation import init
from deberta_ref.model import forward
from deberta_ref.params import Params
from deberta_ref.presets import Preset, presets
from deberta_ref.tokenizer import Tokenizer
from deberta_ref.tracing import trace

__all__ = ["Config", "Params", "Preset", "Tokenizer", "forward", "from_preset", "init", "presets", "trace"]
__version__ = "0.1.0"
