"""``python -m deberta_ref`` is the command ``deberta-ref``."""

import sys

from deberta_ref.cli import main

sys.exit(main())
