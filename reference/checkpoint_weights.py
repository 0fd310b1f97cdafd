"""Random weights written straight into safetensors shards, tensor by tensor. Used by `make_checkpoint.py`.

Names and shapes come from the model class on the meta device, so no model is ever in memory. Values are
slices of one pool of normal numbers, scaled by what the tensor is for: filling 12 GB takes as long as
writing it.
"""

import json
import math
import struct
import zlib
from pathlib import Path

import torch

SAFETENSORS_DTYPE = {"f32": (torch.float32, "F32"), "bf16": (torch.bfloat16, "BF16"), "f16": (torch.float16, "F16")}
POOL_SIZE = 16_777_213  # a prime: no row length divides it, so rows of a large matrix differ


class Pool:
    """One block of standard normal numbers, read from an offset that a tensor's name decides."""

    def __init__(self, seed: int, size: int = POOL_SIZE):
        self.seed, self.size = seed, size
        self.values = torch.randn(size, generator=torch.Generator().manual_seed(seed))

    def chunks(self, name: str, count: int):
        """Yields f32 pieces that together hold `count` numbers."""
        turn = 0
        while count > 0:
            start = zlib.crc32(f"{self.seed}/{name}/{turn}".encode()) % self.size
            piece = self.values[start : start + count]
            yield piece
            count, turn = count - piece.numel(), turn + 1


def mean_and_std(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Scales that keep activations near 1 and let every tensor change the result."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf.endswith("pad_token"):
        return 0.0, 1.0
    if leaf == "bias":
        return 0.0, 0.3 if "adaLN" in name else 0.1
    if len(shape) == 1:  # RMSNorm and GroupNorm weights
        return 1.0, 0.15
    if "embed_tokens" in name:
        return 0.0, 1.0
    fan_in = math.prod(shape[1:])
    # SiLU halves a signal's size; a residual branch that is not normed after itself must stay small.
    gain = 1.4 if "t_embedder" in name else 0.5 if name.endswith(("conv2.weight", "o_proj.weight", "down_proj.weight")) else 1.0
    if name.endswith("conv_out.weight"):
        gain = 0.7
    return 0.0, gain / math.sqrt(fan_in)


def shapes_of(model: torch.nn.Module, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(value.shape) for name, value in model.state_dict().items()}


def plan(shapes: dict[str, tuple[int, ...]], item_size: int, shard_bytes: int) -> list[list[str]]:
    """Names by shard, in order, each shard at most `shard_bytes` (one larger tensor gets its own)."""
    shards, used = [[]], 0
    for name, shape in shapes.items():
        size = math.prod(shape) * item_size
        if shards[-1] and used + size > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def header_bytes(entries: dict[str, tuple[str, tuple[int, ...], int]], metadata: dict[str, str]) -> bytes:
    """The head of a safetensors file for name -> (dtype, shape, bytes), in that order."""
    header, end = {"__metadata__": metadata}, 0
    for name, (tag, shape, size) in entries.items():
        header[name] = {"dtype": tag, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def save(path: Path | str, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """As safetensors' save_file, but the same bytes every time: that one shuffles its metadata."""
    tags = dict(SAFETENSORS_DTYPE.values()) | {
        torch.int64: "I64", torch.uint8: "U8", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2"}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    entries = {name: (tags[value.dtype], tuple(value.shape), value.numel() * value.itemsize) for name, value in tensors.items()}
    with Path(path).open("wb") as file:
        file.write(header_bytes(entries, metadata))
        for value in tensors.values():
            file.write(value.flatten().view(torch.uint8).numpy().data)


def write_shard(path: Path, names: list[str], shapes: dict, pool: Pool, dtype: str, seed_name: str) -> None:
    torch_dtype, tag = SAFETENSORS_DTYPE[dtype]
    entries = {name: (tag, shapes[name], math.prod(shapes[name]) * torch_dtype.itemsize) for name in names}
    with path.open("wb") as file:
        file.write(header_bytes(entries, {"format": "pt"}))
        for name in names:
            mean, std = mean_and_std(name, shapes[name])
            for piece in pool.chunks(f"{seed_name}/{name}", math.prod(shapes[name])):
                file.write((piece * std + mean).to(torch_dtype).view(torch.uint8).numpy().data)


def write_model(folder: Path, stem: str, shapes: dict, pool: Pool, dtype: str, shard_bytes: int, seed_name: str) -> None:
    """`stem.safetensors`, or numbered shards with `stem.safetensors.index.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    item = SAFETENSORS_DTYPE[dtype][0].itemsize
    shards = plan(shapes, item, shard_bytes)
    if len(shards) == 1:
        write_shard(folder / f"{stem}.safetensors", shards[0], shapes, pool, dtype, seed_name)
        return
    weight_map = {}
    for i, names in enumerate(shards, 1):
        file = f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors"
        write_shard(folder / file, names, shapes, pool, dtype, seed_name)
        weight_map |= dict.fromkeys(names, file)
    total = sum(math.prod(shape) for shape in shapes.values()) * item
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
