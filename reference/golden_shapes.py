"""Goldens of models of other shapes: heads of 32 to 256, 1 to 30 of them, pictures of 64 to 1024 px. Called by `goldens.py`.

No weight is committed: each is a formula of its name and place (`weight` below, test/formula-store.ts in the tests), which
f32, bf16 and f16 hold exactly; what blocks of 8 bits make of them has results of its own. Of each result, some 500 values are kept.
"""

import json
import math
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model

import make_checkpoint
from checkpoint_weights import save
from quantised_files import rounded_to_int8

KEPT = 500
T = 0.25  # (1000 - timestep) / 1000


def case(heads: int, axes: list[int], te: tuple[int, int, int], vae: list[int], forwards: list, pictures: list, texts: list[int]) -> dict:
    """`te`: heads, key heads, head width; `forwards`: latents' height and width, and the captions' lengths."""
    options = SimpleNamespace(**make_checkpoint.TINY | dict(
        dim=heads * sum(axes), heads=heads, axes=axes, axes_lens=[1536, 512, 512], layers=1, te_layers=2, te_heads=te[0], te_kv_heads=te[1],
        te_head_dim=te[2], vocab=512, vae_channels=vae))
    return {"transformer": make_checkpoint.transformer_config(options), "text_encoder": make_checkpoint.text_config(options),
            "vae": make_checkpoint.vae_config(options), "forwards": forwards, "pictures": pictures, "texts": texts}


CASES = {
    "1x256": case(1, [64, 96, 96], (4, 1, 32), [4, 4, 8, 32], [[8, 8, [1]], [128, 128, [37]]], [[8, 8], [128, 128]], [1, 512]),
    "2x128": case(2, [32, 48, 48], (2, 2, 128), [4, 4, 8, 96], [[8, 64, [512]], [72, 128, [1, 512]]], [[8, 64], [72, 128]], [2]),
    "5x64": case(5, [16, 24, 24], (8, 2, 64), [4, 8, 8, 128], [[32, 32, [33, 32]], [64, 48, [100]]], [[32, 24]], [33]),
    "7x32": case(7, [8, 12, 12], (2, 1, 32), [4, 4, 4, 8], [[8, 8, [3, 40]]], [[4, 6]], [3]),
    "7x96": case(7, [24, 36, 36], (3, 1, 96), [4, 8, 16, 64], [[16, 24, [64, 2]]], [[12, 40]], [64]),
    "13x32": case(13, [8, 12, 12], (1, 1, 256), [8, 8, 8, 8], [[48, 16, [200, 201]]], [[48, 16]], [100]),
    "30x32": case(30, [8, 12, 12], (30, 5, 32), [4, 4, 4, 256], [[8, 8, [3, 70]], [24, 16, [31]]], [[8, 12]], [31]),
}


def codes(name: str, count: int, most: int) -> np.ndarray:
    """Integers of -most to most, hashes of a tensor's name and each value's place."""
    x = np.arange(count, dtype=np.uint32) + np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x ^= x >> np.uint32(16)
    return (x % np.uint32(2 * most + 1)).astype(np.int64) - most


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Norms near 1, small biases; matrices and kernels at about 1 / sqrt(fan in), with a code of 127 in each 32 values of a row."""
    count = math.prod(shape)
    if len(shape) == 1:
        value = codes(name, count, 31) / 128 + (0 if name.endswith("bias") else 1)
    else:
        fan_in = math.prod(shape[1:])
        value = codes(name, count, 127).reshape(-1, fan_in)
        value[:, ::32] = np.where(value[:, ::32] < 0, -127, 127)
        value = value * 2.0 ** -round(math.log2(75 * math.sqrt(fan_in)))
    return torch.from_numpy(np.asarray(value, np.float32)).reshape(shape)


def filled(model: torch.nn.Module, part: str, prefix: str = "") -> torch.nn.Module:
    model.load_state_dict({name: weight(f"{part}/{prefix}{name}", tuple(value.shape)) for name, value in model.state_dict().items()})
    return model.eval()


def values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """An input: between -2 and 2."""
    return torch.from_numpy((codes(name, math.prod(shape), 127) / 64).astype(np.float32)).reshape(shape)


def sampled(value: torch.Tensor) -> torch.Tensor:
    flat = value.flatten()
    return flat[:: (flat.numel() // KEPT) | 1].clone()


def plain(config: dict) -> dict:
    return {name: value for name, value in config.items() if not name.startswith("_")}


@torch.no_grad()
def run(name: str, wanted: dict) -> dict[str, torch.Tensor]:
    out = {}
    dit = filled(ZImageTransformer2DModel(**plain(wanted["transformer"])), "transformer")
    for storage in ("", ".int8"):
        if storage == ".int8":
            dit.load_state_dict(rounded_to_int8(dit.state_dict()))
        for i, (height, width, lengths) in enumerate(wanted["forwards"]):
            latents = values("latents", (16, 1, height, width))
            captions = [values(f"caption {k}", (length, wanted["text_encoder"]["hidden_size"])) for k, length in enumerate(lengths)]
            results = dit([latents] * len(captions), torch.full((len(captions),), T), captions, return_dict=False)[0]
            for k, result in enumerate(results):
                out[f"{name}.forward.{i}.{k}{storage}"] = sampled(result)
    encoder = filled(Qwen3Model(Qwen3Config(**wanted["text_encoder"])), "text_encoder", "model.")
    for length in wanted["texts"]:
        ids = torch.from_numpy(codes("ids", length, 255) + 255)[None]
        states = encoder(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
        out[f"{name}.text.{length}"] = sampled(states[-2][0])
    vae = filled(AutoencoderKL(**plain(wanted["vae"])), "vae")
    for i, (height, width) in enumerate(wanted["pictures"]):
        latents = values("latents", (1, 16, height, width)) / vae.config.scaling_factor + vae.config.shift_factor
        decoded = vae.decode(latents, return_dict=False)[0][0]
        image = (decoded * 0.5 + 0.5).clamp(0, 1)
        edge = ((image == 0) | (image == 1)).float().mean().item()
        if edge > 0.2:
            raise SystemExit(f"{name}: {edge:.0%} of picture {i} is black or white")
        out[f"{name}.picture.{i}"] = sampled(image)
    return out


def write(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    (folder / "cases.json").write_text(json.dumps(CASES, indent=1) + "\n")
    results = {}
    for name, wanted in CASES.items():
        found = run(name, wanted)
        for key, value in found.items():
            print(f"{key:20} {list(value.shape)} of {value.abs().max().item():.3g}, deviation {value.std().item():.3g}", flush=True)
        results |= found
    save(folder / "results.safetensors", results, {})
    return [folder / "cases.json", folder / "results.safetensors"]
