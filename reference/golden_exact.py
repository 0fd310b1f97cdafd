"""Goldens of weights that every storage holds exactly. Called by `goldens.py`.

Each row of a matrix is a multiple of one power of two, with codes of 7 bits and a sign, and a code of 127 in each block
(`int8_blocks.py`), turned where blocks are: bf16, f16 and blocks of 8 bits hold such a row without rounding it. So one run of diffusers in f32 is the truth
of all of them, and what differs from it is not the rounding of weights.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

import golden_loras
import golden_tiny
import int8_blocks
import trace
from checkpoint_weights import save

KEPT_STAGES = ["layers.0.in", "layers.0.out", "transformer.cap_feats", "transformer.latents", "transformer.out", "transformer.t", "vae.image",
               "vae.latents"]
KEPT_TRACES = ["plain-g0", "plain-g3", "lora-g3", "long-g1"]


def exact(value: torch.Tensor) -> torch.Tensor:
    """What is near a tensor and on the grid. What is no matrix is rounded to bf16: f16 holds that too."""
    if value.dim() != 2:
        return value.to(torch.bfloat16).float()
    size, turn = int8_blocks.layout(value.shape[1])
    out = exact_plain(value, size) if turn == 1 else exact_turned(value, size, turn)
    for dtype in (torch.bfloat16, torch.float16):
        if not torch.equal(out.to(dtype).float(), out):
            raise SystemExit(f"{dtype} does not hold a matrix exactly")
    return out


def exact_plain(value: torch.Tensor, size: int) -> torch.Tensor:
    rows, columns = value.shape
    step = torch.exp2(torch.ceil(torch.log2(value.abs().amax(dim=1, keepdim=True) / 127)))
    codes = torch.nn.functional.pad(torch.round(value / step), (0, -columns % size)).reshape(rows, -1, size)
    return with_largest(codes).reshape(rows, -1)[:, :columns] * step


def exact_turned(value: torch.Tensor, size: int, turn: int) -> torch.Tensor:
    """Few codes but small ones beside the 127, so that no sum of a turn's codes is wider than bf16's 8 bits."""
    rows, columns = value.shape
    turned = (int8_blocks.times_hadamard(value, turn) / turn).reshape(rows, -1, turn)
    step = torch.exp2(torch.ceil(torch.log2(turned.abs().sum(dim=2).amax(dim=1).reshape(rows, 1) / 90)))
    codes = with_largest(torch.round(turned.reshape(rows, -1) / step).reshape(rows, -1, size)).reshape(rows, columns)
    # The 127 alone would make a row eight times as long.
    return int8_blocks.times_hadamard(codes, turn) * step / 8


def with_largest(codes: torch.Tensor) -> torch.Tensor:
    """Blocks [rows, count, size] with a code of 127 each."""
    largest = codes.abs().argmax(dim=2, keepdim=True)
    sign = torch.where(codes.gather(2, largest) < 0, -1.0, 1.0)
    return codes.scatter(2, largest, 127 * sign)


def write_store(store: Path, tiny: Path) -> list[Path]:
    """The tiny store with such weights, in bf16 as the real one; the text encoder, which no storage changes, in f32 for every device."""
    shutil.copytree(tiny, store, dirs_exist_ok=True)
    for path in store.rglob("*.safetensors"):
        dtype = torch.float32 if path.parent.name == "text_encoder" else torch.bfloat16
        save(path, {name: exact(value).to(dtype) for name, value in load_file(path).items()}, {"format": "pt"})
    return sorted(path for path in store.rglob("*") if path.is_file())


def write(folder: Path, tiny: Path, options) -> list[Path]:
    folder.mkdir(exist_ok=True)
    written = write_store(folder / "store", tiny / "store")
    stages = golden_tiny.stages(folder)
    save(folder / "stages.safetensors", {name: stages[name] for name in KEPT_STAGES}, {"reference": json.dumps(trace.versions())})
    pipe = trace.load(folder / "store", "zimage_turbo", "f32")
    for name in KEPT_TRACES:
        request = golden_tiny.TRACES[name]
        lora = [(str(tiny / file), multiplier) for file, multiplier in request.get("lora", [])]
        path = folder / "traces" / f"head-{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        trace.write(str(path), trace.run(pipe, **(request | {"lora": lora})), request)
        written.append(path)
    _, results = golden_loras.run_all(folder / "loras", options, folder / "store")
    latents = {name: value for name, value in results.items() if name.endswith(".latents")}
    trace.write(str(folder / "loras.safetensors"), latents, golden_loras.REQUEST)
    shutil.rmtree(folder / "loras")
    return [*written, folder / "stages.safetensors", folder / "loras.safetensors"]
