"""Write one random model in every layout in which transformers, torch and the authors' package write checkpoints.

    python ports/tools/write_checkpoints.py DIRECTORY

Each layout is a directory below DIRECTORY with the ``output.safetensors`` that its own library computes from it: in
float64 for what is stored in float32, of token ids and a padding mask that are in ``inputs.safetensors``. The attention
heads are 12 wide, so that 3 · 12 has an exact root and transformers' float64 is one.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).parents[1] / "adapters"))

import authors

SIZES = {
    "vocab_size": 60,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
    "position_buckets": 16,
    "initializer_range": 0.3,
}
FEATURES = {
    "relative_attention": True,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "max_relative_positions": -1,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "hidden_act": "gelu",
}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def main() -> None:
    """Write every layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    root = parser.parse_args().directory
    torch.manual_seed(0)
    config = transformers.DebertaV2Config(**SIZES, **FEATURES)
    mask = torch.ones(3, 20, dtype=torch.long)
    mask[1, 12:] = 0
    mask[2, 5:9] = 0
    inputs = {"token_ids": torch.randint(0, 60, (3, 20)), "padding_mask": mask}
    save_file(inputs, root / "inputs.safetensors")

    for name, dtype in DTYPES.items():
        model = transformers.DebertaV2Model(config).to(dtype)
        model.save_pretrained(root / f"safetensors-{name}")
        finish(root / f"safetensors-{name}", model, inputs)
        write_bin(root / f"bin-{name}", config, model.state_dict())
        finish(root / f"bin-{name}", model, inputs)

    model = transformers.DebertaV2Model(config)
    model.save_pretrained(root / "safetensors-sharded", max_shard_size="20KB")
    finish(root / "safetensors-sharded", model, inputs)
    write_bin(root / "bin-legacy", config, model.state_dict(), _use_new_zipfile_serialization=False)
    finish(root / "bin-legacy", model, inputs)
    write_shards(root / "bin-sharded", model, config)
    finish(root / "bin-sharded", model, inputs)

    for kind in ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM"):
        model = getattr(transformers, f"DebertaV2{kind}")(config)
        model.save_pretrained(root / f"safetensors-{kind}")
        finish(root / f"safetensors-{kind}", model.deberta, inputs)
        write_bin(root / f"bin-{kind}", config, model.state_dict())  # the tied embedding is one storage twice
        finish(root / f"bin-{kind}", model.deberta, inputs)

    write_authors(root / "authors", inputs)


def finish(directory: Path, model: Any, inputs: dict[str, torch.Tensor]) -> None:
    """Write what the model computes in float64 from the values that it has stored."""
    with torch.no_grad():
        output = (
            copy.deepcopy(model).double().eval()(input_ids=inputs["token_ids"], attention_mask=inputs["padding_mask"])
        )
    save_file({"output": output.last_hidden_state.contiguous()}, directory / "output.safetensors")


def write_bin(directory: Path, config: Any, state: dict[str, Any], **options: Any) -> None:
    """config.json and pytorch_model.bin, as transformers wrote them for years."""
    directory.mkdir()
    config.save_pretrained(directory)
    torch.save(state, directory / "pytorch_model.bin", **options)


def write_shards(directory: Path, model: Any, config: Any) -> None:
    """The same in two shards, with an index."""
    directory.mkdir()
    config.save_pretrained(directory)
    state = model.state_dict()
    places = {name: f"pytorch_model-0000{1 + n % 2}-of-00002.bin" for n, name in enumerate(state)}
    for file in {*places.values()}:
        torch.save({name: state[name] for name, place in places.items() if place == file}, directory / file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")


def write_authors(directory: Path, inputs: dict[str, torch.Tensor]) -> None:
    """model_config.json and pytorch_model.bin, as the authors released them, with the prefix of their checkpoints."""
    directory.mkdir()
    package = authors.package()
    entries = SIZES | FEATURES | {"padding_idx": 0, "attention_head_size": 12}
    entries |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    config = package.config.ModelConfig.from_dict(entries)
    model = package.DeBERTa(config)
    torch.nn.init.normal_(model.encoder.rel_embeddings.weight)
    (directory / "model_config.json").write_text(config.to_json_string(), "utf-8")
    state = {f"deberta.{name}": tensor for name, tensor in model.state_dict().items()}
    state["lm_predictions.lm_head.bias"] = torch.zeros(60)
    torch.save(state, directory / "pytorch_model.bin")
    with torch.no_grad():
        output = model.double().eval()(inputs["token_ids"], attention_mask=inputs["padding_mask"])[-1]
    save_file({"output": output.contiguous()}, directory / "output.safetensors")


if __name__ == "__main__":
    main()
