"""Run a port over directories of cases: each has config.json, model.safetensors and inputs.safetensors.

    python ports/tools/run.py PORT DIRECTORY [--dtype float64]

PORT is the name of a file in ports/adapters. What it gives for each case, the last hidden state as ``output`` or every
tap, goes to PORT.safetensors, and what PORT is to versions.json. Where a manifest.json asks for one layer, the inputs
are ``x``, ``relative_embeddings`` and ``padding_mask``, and the taps are that layer's.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import sys
from pathlib import Path

from safetensors.numpy import load_file, save_file

sys.path.append(str(Path(__file__).parents[1] / "adapters"))


def main() -> None:
    """Run every case below DIRECTORY."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    port = importlib.import_module(options.port)
    versions = {"implementation": port.NAME, "version": importlib.metadata.version(port.NAME)}
    (options.directory / "versions.json").write_text(json.dumps(versions), "utf-8")
    for inputs in sorted(options.directory.glob("*/inputs.safetensors")):
        run = port.load(str(inputs.parent), dtype=options.dtype)
        manifest = inputs.with_name("manifest.json")
        asked = json.loads(manifest.read_text("utf-8")) if manifest.is_file() else {}
        found = run.layer(load_file(inputs), asked["layer"]) if "layer" in asked else run(load_file(inputs))
        save_file(
            found if isinstance(found, dict) else {"output": found}, inputs.with_name(f"{options.port}.safetensors")
        )


if __name__ == "__main__":
    main()
