"""Goldens of quantised weights: blocks of each GGUF format with their values, and whole runs. Called by `goldens.py`.

The runs are diffusers' own, with the values that the file holds loaded in f32. GGUF rows are multiples of 32 and 256,
so its model is wider than the tiny one, whose text encoder and VAE it uses.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

import make_checkpoint
import quantised_files
import trace
from checkpoint_weights import Pool, save, shapes_of, write_model
from ggml_quantise import dequantise
from make_lora import header, make_lora

FORMATS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Where a block holds f16 numbers: random bytes there would be NaN now and then.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
LORAS = {"fp8-cast": [], "fp8-scaled": [("../tiny/lora-mixed-ranks.safetensors", 0.5)], "fp8-rows": [("../loras/files/diffusers-dora.safetensors", -0.6)]}
REQUEST = dict(prompt="a red fox in the snow", neg="blurry", seed=3, steps=2, guidance=2.0, width=64, height=32)


def blocks() -> dict[str, torch.Tensor]:
    rng, out = np.random.default_rng(5), {}
    for name in FORMATS:
        count, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        data = rng.integers(0, 256, (6, size), dtype=np.uint8)
        for at in HALVES[name]:
            data[:, at:at + 2] = (rng.standard_normal(6) * 0.1).astype(np.float16).view(np.uint8).reshape(6, 2)
        data[0] = 0
        data[1] = np.where(np.arange(size) >= 0, 255, 0)
        for at in HALVES[name]:
            data[1, at:at + 2] = np.array([0.5], np.float16).view(np.uint8)
        out[f"{name}.bytes"], out[f"{name}.values"] = torch.from_numpy(data), torch.from_numpy(dequantise(data, name).reshape(6, count))
    return out


def kind_of(name: str, value: torch.Tensor) -> str:
    """All formats in one file, as real ones mix them: K formats where rows are wide enough."""
    if value.dim() == 1:
        return "F32"
    if "feed_forward.w2" in name:
        return {"noise_refiner.0": "Q4_K", "context_refiner.0": "Q5_K", "layers.0": "Q6_K", "layers.1": "Q4_K"}[name.split(".feed")[0]]
    kinds = {"qkv": "Q4_0", "attention.out": "Q8_0", "w1": "Q4_1", "w3": "Q5_1", "pad_token": "Q8_0", "cap_embedder": "BF16",
             "t_embedder.mlp.0": "Q8_0", ".adaLN_modulation.0": "Q5_0"}
    return next((kind for part, kind in kinds.items() if part in name), "F16")


def is_large(name: str, value: torch.Tensor) -> bool:
    """A matrix of a block: what storage in f16 holds in f16."""
    embedders = ("t_embedder", "cap_embedder", "all_x_embedder", "all_final_layer")
    return value.dim() == 2 and len(value) > 1 and not name.startswith(embedders)


def dora(lora: dict[str, torch.Tensor], transformer: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The same with a magnitude for each row, under diffusers' names."""
    generator, out = torch.Generator().manual_seed(7), {}
    for key, value in lora.items():
        name, _, part = key.removeprefix("diffusion_model.").partition(".lora_")
        out[f"transformer.{name}.lora_{part}"] = value
        length = transformer.get_submodule(name).weight.detach().norm(dim=1)
        out[f"transformer.{name}.lora_magnitude_vector"] = length * (1 + 0.3 * torch.rand(length.shape, generator=generator))
    return out


def write(folder: Path, store: Path) -> list[Path]:
    (folder / "gguf").mkdir(parents=True, exist_ok=True)
    save(folder / "blocks.safetensors", blocks(), {})
    written = [folder / "blocks.safetensors"]
    pipe = trace.load(store, "zimage_turbo", "f32")
    requests = {}

    def run(name: str, values: dict, lora: list) -> None:
        pipe.transformer.load_state_dict({key: value.float() for key, value in values.items()})
        requests[name] = REQUEST | {"lora": lora}
        found = trace.run(pipe, **(REQUEST | {"lora": [(str(folder / file), multiplier) for file, multiplier in lora]}))
        kept = {key: value for key, value in found.items() if key.startswith(("noise_pred", "latents"))}
        trace.write(str(folder / f"{name}.trace.safetensors"), kept, requests[name])
        written.append(folder / f"{name}.trace.safetensors")

    state = load_file(store / "Tongyi-MAI/Z-Image-Turbo/transformer/diffusion_pytorch_model.safetensors")
    for name, make in (("fp8-cast", quantised_files.fp8_cast), ("fp8-scaled", quantised_files.fp8_scaled), ("fp8-rows", quantised_files.fp8_rows)):
        path = folder / f"{name}.safetensors"
        values = make(path, state)
        run(name, values, LORAS[name])
        run(f"{name}-int8", quantised_files.rounded_to_int8(values), LORAS[name])
        written.append(path)
    # A DoRA needs the length of each of the base's rows, however they are stored.
    run("f16", {name: value.half() if is_large(name, value) else value for name, value in state.items()}, [("../loras/files/diffusers-dora.safetensors", 0.7)])
    run("int8", quantised_files.rounded_to_int8(state), [("../loras/files/diffusers-dora.safetensors", 0.7)])

    from diffusers import ZImageTransformer2DModel

    options = make_checkpoint.options([str(folder), "--dim", "96", "--axes", "16,16,16"])
    config = make_checkpoint.transformer_config(options)
    make_checkpoint.write_config(folder / "gguf" / "config.json", config)
    pipe.transformer = ZImageTransformer2DModel(**{key: value for key, value in config.items() if not key.startswith("_")}).eval()
    write_model(folder / "gguf", "all", shapes_of(pipe.transformer), Pool(1, 1_000_003), "f32", 2**40, "gguf")
    state = load_file(folder / "gguf" / "all.safetensors")
    (folder / "gguf" / "all.safetensors").unlink()
    save(folder / "gguf" / "lora.safetensors", dora(make_lora(config, [2, 3], "some", "f32", 0.3, 6), pipe.transformer), header("gguf", 1000))
    run("gguf/mixed", quantised_files.gguf_file(folder / "gguf" / "mixed.gguf", state, kind_of), [("gguf/lora.safetensors", 0.5)])
    (folder / "requests.json").write_text(json.dumps(requests, indent=1) + "\n")
    return written + [folder / "requests.json", *(folder / "gguf" / name for name in ("config.json", "mixed.gguf", "lora.safetensors"))]
