"""transformers' DebertaV2Model as people deploy it in less than float32: a function a deployment, each a port.

    deberta-ref check ports/adapters/lowered.py:onnxruntime_int8

Types and autocast of PyTorch, its dynamic int8, torchao's weights, ONNX Runtime's quantizers and float16 conversion,
OpenVINO's precisions and its compressed weights. Install them with ``pip install torch transformers torchao onnx
onnxscript onnxruntime openvino nncf``. The last hidden state alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DebertaV2Model

sys.path.append(str(Path(__file__).parents[1] / "tools"))

Port = Callable[[str], Any]


def _torch(
    dtype: Any = torch.float32, autocast: Any = None, change: Callable[[Any], Any] = lambda model: model
) -> Port:
    """The model in a type, under autocast, or changed once it is loaded."""

    def load(checkpoint_dir: str) -> Any:
        model = change(DebertaV2Model.from_pretrained(checkpoint_dir, dtype=dtype).eval())

        def run(inputs: dict[str, Any]) -> Any:
            ids, mask = (torch.from_numpy(inputs[name]) for name in ("token_ids", "padding_mask"))
            with torch.no_grad(), torch.autocast("cpu", dtype=autocast) if autocast else nullcontext():
                return model(input_ids=ids, attention_mask=mask).last_hidden_state.float()

        return run

    return load


bfloat16 = _torch(torch.bfloat16)
float16 = _torch(torch.float16)
autocast_bfloat16 = _torch(autocast=torch.bfloat16)
autocast_float16 = _torch(autocast=torch.float16)
weights_bfloat16 = _torch(change=lambda model: model.bfloat16().float())
weights_float16 = _torch(change=lambda model: model.half().float())


def _hooked(classes: tuple[str, ...], dtype: Any, *, inputs: bool = False) -> Callable[[Any], Any]:
    """Rounds what modules of these classes return to a type; or what they are given as well."""

    def rounded(x: Any) -> Any:
        return x.to(dtype).to(x.dtype) if torch.is_tensor(x) and x.is_floating_point() else x

    def change(model: Any) -> Any:
        for module in model.modules():
            if type(module).__name__ in classes:
                module.register_forward_hook(lambda _module, _given, result: rounded(result))
                if inputs:
                    module.register_forward_pre_hook(lambda _module, given: tuple(map(rounded, given)))
        return model

    return change


layer_norm_bfloat16 = _torch(change=_hooked(("LayerNorm",), torch.bfloat16, inputs=True))
layer_norm_float16 = _torch(change=_hooked(("LayerNorm",), torch.float16, inputs=True))
hidden_state_bfloat16 = _torch(change=_hooked(("DebertaV2Output", "DebertaV2Embeddings"), torch.bfloat16))
hidden_state_float16 = _torch(change=_hooked(("DebertaV2Output", "DebertaV2Embeddings"), torch.float16))
gelu_bfloat16 = _torch(change=_hooked(("GELUActivation",), torch.bfloat16, inputs=True))
gelu_float16 = _torch(change=_hooked(("GELUActivation",), torch.float16, inputs=True))


def _dynamic(model: Any) -> Any:
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)


torch_dynamic_int8 = _torch(change=_dynamic)


def _torchao(config: str, **options: Any) -> Port:
    def change(model: Any) -> Any:
        from torchao import quantization  # noqa: PLC0415 - slow to import, and for these alone

        quantization.quantize_(model, getattr(quantization, config)(**options))
        return model

    return _torch(change=change)


torchao_int8_weights = _torchao("Int8WeightOnlyConfig")
torchao_int8 = _torchao("Int8DynamicActivationInt8WeightConfig")
torchao_float8_weights = _torchao("Float8WeightOnlyConfig")


def _session(model: Any) -> Any:
    import onnxruntime  # noqa: PLC0415 - for these deployments alone

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Any]) -> Any:
        ids, mask = (np.asarray(inputs[name], np.int64) for name in ("token_ids", "padding_mask"))
        return session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})[0].astype(np.float32)

    return run


def _onnx(change: Callable[[str, str], Any]) -> Port:
    """The model as an ONNX file, which ``change`` writes anew under another name, in ONNX Runtime."""

    def load(checkpoint_dir: str) -> Any:
        os.environ.setdefault("EXPORTER", "legacy")
        from export_onnx import export  # noqa: PLC0415 - needs onnx, which the other deployments do not

        with tempfile.TemporaryDirectory() as directory:
            source, changed = f"{directory}/model.onnx", f"{directory}/changed.onnx"
            export(checkpoint_dir, source)
            change(source, changed)
            return _session(Path(changed).read_bytes())

    return load


def _onnx_dynamic(kind: str, **options: Any) -> Port:
    def change(source: str, changed: str) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

        quantize_dynamic(source, changed, weight_type=getattr(QuantType, kind), **options)

    return _onnx(change)


onnxruntime_int8 = _onnx_dynamic("QInt8")
onnxruntime_int8_channels = _onnx_dynamic("QInt8", per_channel=True)
onnxruntime_uint8 = _onnx_dynamic("QUInt8")
onnxruntime_uint8_channels = _onnx_dynamic("QUInt8", per_channel=True)
onnxruntime_int8_matmul = _onnx_dynamic("QInt8", per_channel=True, op_types_to_quantize=["MatMul"])


def _onnx_bits(bits: int, block: int, *, symmetric: bool) -> Port:
    def change(source: str, changed: str) -> None:
        import onnx  # noqa: PLC0415
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer  # noqa: PLC0415

        quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=bits, block_size=block, is_symmetric=symmetric)
        quantizer.process()
        onnx.save(quantizer.model.model, changed)

    return _onnx(change)


onnxruntime_4_bits = _onnx_bits(4, 32, symmetric=True)
onnxruntime_4_bits_affine = _onnx_bits(4, 32, symmetric=False)
onnxruntime_8_bits = _onnx_bits(8, 32, symmetric=True)


def _onnx_float16(source: str, changed: str) -> None:
    import onnx  # noqa: PLC0415
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), changed)


onnxruntime_float16 = _onnx(_onnx_float16)


def _openvino(precision: str, change: Callable[[Any], Any] = lambda model: model) -> Port:
    def load(checkpoint_dir: str) -> Any:
        import openvino  # noqa: PLC0415 - for these deployments alone
        from export_onnx import LastHiddenState, example  # noqa: PLC0415
        from openvino.properties import hint  # noqa: PLC0415

        model = LastHiddenState(DebertaV2Model.from_pretrained(checkpoint_dir, dtype=torch.float32)).eval()
        with torch.no_grad():
            converted = change(openvino.convert_model(model, example_input=example()))
        settings = {"INFERENCE_NUM_THREADS": 1, hint.inference_precision: getattr(openvino.Type, precision)}
        compiled = openvino.compile_model(converted, "CPU", settings)

        def run(inputs: dict[str, Any]) -> Any:
            ids, mask = (np.asarray(inputs[name], np.int64) for name in ("token_ids", "padding_mask"))
            return compiled({"input_ids": ids, "attention_mask": mask})[0].astype(np.float32)

        return run

    return load


openvino_bfloat16 = _openvino("bf16")
openvino_float16 = _openvino("f16")


def _nncf(mode: str, **options: Any) -> Port:
    def change(model: Any) -> Any:
        import nncf  # noqa: PLC0415

        return nncf.compress_weights(model, mode=getattr(nncf.CompressWeightsMode, mode), **options)

    return _openvino("f32", change)


nncf_int8_weights = _nncf("INT8_SYM")
nncf_uint8_weights = _nncf("INT8_ASYM")
