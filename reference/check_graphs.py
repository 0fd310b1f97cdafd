"""Checks every graph of every kind of device with the `onnx` package: full check, shape inference, evaluation.

  node reference/dump-graphs.ts test/golden/tiny/store GRAPHS
  python reference/check_graphs.py GRAPHS

The evaluator runs each graph on the same random inputs; all must agree with f32 on the CPU within what the
dtype allows. Contrib operators, which the package does not know, are written out below in numpy. Exit
status 1 on a failure.
"""

import re
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_model
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

# Part of an output's largest value: several roundings of 2^-9 (bf16) and 2^-12 (f16).
TOLERANCE = {"f32": 0.0, "bf16": 6e-2, "f16": 6e-3, "plain": 1e-5, "plain-cut": 1e-5, "opset-21": 1e-5}
LENGTHS = {"length": 5, "padded": 32, "steps": 3, "image": 24, "image_tokens": 64, "tokens": 128, "caption_tokens.0": 32,
           "caption_tokens.1": 32, "h": 4, "w": 6, "x_rows": 4, "above_rows": 2, "below_rows": 2, "rows": 4, "W": 6, "places": 24,
           "queries": 5, "keys": 7}


class MultiHeadAttention(OpRun):
    op_domain = "com.microsoft"

    def _run(self, q, k, v, num_heads=1, **unused):
        split = lambda x: x.astype(np.float32).reshape(*x.shape[:2], num_heads, -1).transpose(0, 2, 1, 3)
        heads = [split(x) for x in (q, k, v)]
        scores = heads[0] @ heads[1].swapaxes(2, 3) / np.sqrt(heads[0].shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = weights / weights.sum(-1, keepdims=True) @ heads[2]
        return (mixed.transpose(0, 2, 1, 3).reshape(q.shape).astype(q.dtype),)


class RotaryEmbedding(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x, position, cos, sin, interleaved=0, **unused):
        assert interleaved == 1 and position.tolist() == [0]
        pairs = x.reshape(*x.shape[:2], -1, cos.shape[1], 2)
        a, b, c, s = pairs[..., 0], pairs[..., 1], cos[None, :, None], sin[None, :, None]
        return (np.stack([a * c - b * s, a * s + b * c], -1).reshape(x.shape).astype(x.dtype),)


class RMSNormalization(OpRun):
    """Statistics in f32 whatever the dtype is: what stash_type 1 demands."""

    def _run(self, x, scale, axis=-1, epsilon=1e-5, stash_type=1, **unused):
        assert axis == -1 and stash_type == 1
        wide = x.astype(np.float32)
        normed = wide / np.sqrt((wide * wide).mean(-1, keepdims=True) + epsilon)
        return ((normed.astype(x.dtype) * scale).astype(x.dtype),)


def adapter_shape(name: str, sizes: dict[str, list[int]]) -> list[int]:
    """Of a LoKr or LoHa factor: of rank 2, on a module of [out, in]."""
    module, part = re.fullmatch(r"(.+)\.((?:lokr|hada)_.+)", name).groups()
    out, width = sizes[module]
    kind, *index = part.split(".")
    if kind == "lokr_w1":
        return [1, 1]
    if kind == "lokr_w2":  # the first term's in one piece, the second's as a product
        return {"00": [out, width], "10": [out, 2], "11": [2, width]}["".join(index)]
    return [out, 2] if kind.endswith("_a") else [2, width]


def random_inputs(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {}
    sizes = {tensor.name.removesuffix(".weight"): list(tensor.dims) for tensor in model.graph.initializer}
    for value in model.graph.input:
        kind = value.type.tensor_type
        if re.search(r"\.(lokr_w|hada_w)", value.name):
            feeds[value.name] = rng.standard_normal(adapter_shape(value.name, sizes)).astype(np.float32) * 0.1
            continue
        if ".lokr_start." in value.name or ".lokr_end." in value.name:
            module = value.name.partition(".lokr_")[0]
            feeds[value.name] = np.array([0 if ".lokr_start." in value.name else sizes[module][0]], dtype=np.int64)
            continue
        # A whole change's scale is one number here.
        adapter = {"rank": 2, "n": 1}
        shape = [d.dim_value if d.HasField("dim_value") else adapter.get(d.dim_param.split(".")[0]) or LENGTHS[d.dim_param]
                 for d in kind.shape.dim]
        if kind.elem_type == onnx.TensorProto.INT64:
            known = {"pads": [8] if "patches" in {v.name for v in model.graph.input} else [27], "input_ids": [3, 1, 4, 1, 5],
                     "image_lengths": [32, 32], "lengths": [64, 64]}
            feeds[value.name] = np.array(known[value.name], dtype=np.int64)
        elif value.name == "mask":
            feeds[value.name] = np.triu(np.full(shape, -1e30, dtype=np.float32), 1)
        elif value.name in {"deviation", "sum", "has_above", "has_below"}:
            feeds[value.name] = rng.uniform(0.5, 1, shape).astype(np.float32)
        elif value.name.endswith(("cos", "sin")):
            angle = rng.uniform(0, 6, shape)
            feeds[value.name] = (np.cos if value.name.endswith("cos") else np.sin)(angle).astype(np.float32)
        else:
            feeds[value.name] = rng.standard_normal(shape).astype(np.float32) * (0.2 if re.search("lora|diff", value.name) else 1)
    return feeds


def with_standard_norms(model: onnx.ModelProto) -> None:
    """SimplifiedLayerNormalization is the runtime's name for what ONNX calls RMSNormalization from opset 23 on."""
    norms = [node for node in model.graph.node if node.op_type == "SimplifiedLayerNormalization"]
    if not norms:
        return
    for node in norms:
        node.domain = "com.microsoft"  # the checker lets operators of other domains pass
    onnx.checker.check_model(model)
    for node in norms:
        node.op_type, node.domain = "RMSNormalization", ""
    next(own for own in model.opset_import if own.domain == "").version = 23


def order(path: Path) -> tuple[str, int]:
    name, variant = path.stem.rsplit(".", 1)
    return name, list(TOLERANCE).index(variant)


def main() -> None:
    failed, expected = False, {}
    for path in sorted(Path(sys.argv[1]).glob("*.onnx"), key=order):
        name, variant = path.stem.rsplit(".", 1)
        model = onnx.load_model(path, load_external_data=False)
        load_external_data_for_model(model, "/")
        # One-captioned graphs have half the tokens.
        LENGTHS.update({"image_tokens": 32, "tokens": 64} if name.startswith("step_1") else {"image_tokens": 64, "tokens": 128})
        with_standard_norms(model)
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        feeds = random_inputs(model)
        evaluator = ReferenceEvaluator(model, new_ops=[MultiHeadAttention, RotaryEmbedding, RMSNormalization])
        results = [np.asarray(r, dtype=np.float32) for r in evaluator.run(None, feeds)]
        if variant == "f32":
            expected[name] = results
        errors = [float(np.abs(r - e).max() / np.abs(e).max()) for r, e in zip(results, expected[name])]
        sound = all(np.isfinite(r).all() for r in results) and max(errors) <= TOLERANCE[variant]
        failed |= not sound
        print(f"{'ok  ' if sound else 'FAIL'} {name:15} {variant:9} {len(model.graph.node):5} nodes, largest difference {max(errors):.2e} of scale")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
