"""Goldens of weights that every storage holds exactly. Called by `goldens.py`.

Each row of a matrix is a multiple of one power of two, with codes of 7 bits and a sign, and a code of 127 in each 32
values: bf16, f16 and blocks of 8 bits hold such a row without rounding it. So one run of diffusers in f32 is the truth
of all of them, and what differs from it is not the rounding of weights.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

import golden_loras
import golden_tiny
import trace
from checkpoint_weights import save

KEPT_STAGES = ["layers.0.in", "layers.0.out", "transformer.cap_feats", "transformer.latents", "transformer.out", "transformer.t", "vae.image",
               "vae.latents"]
KEPT_TRACES = ["plain-g0", "plain-g3", "lora-g3", "long-g1"]


def exact(value: torch.Tensor) -> torch.Tensor:
    """What is near a tensor and on the grid. What is no matrix is rounded to bf16: f16 holds that too."""
    if value.dim() != 2:
        return value.to(torch.bfloat16).float()
    rows, columns = value.shape
    step = torch.exp2(torch.ceil(torch.log2(value.abs().amax(dim=1, keepdim=True) / 127)))
    codes = torch.nn.functional.pad(torch.round(value / step), (0, -columns % 32)).reshape(rows, -1, 32)
    largest = codes.abs().argmax(dim=2, keepdim=True)
    sign = torch.where(codes.gather(2, largest) < 0, -1.0, 1.0)
    codes = codes.scatter(2, largest, 127 * sign).reshape(rows, -1)[:, :columns]
    out = codes * step
    for dtype in (torch.bfloat16, torch.float16):
        if not torch.equal(out.to(dtype).float(), out):
            raise SystemExit(f"{dtype} does not hold a matrix exactly")
    return out


def write_store(store: Path, tiny: Path) -> list[Path]:
    """The tiny store with such weights, in bf16 as the real one."""
    shutil.copytree(tiny, store, dirs_exist_ok=True)
    for path in store.rglob("*.safetensors"):
        save(path, {name: exact(value).to(torch.bfloat16) for name, value in load_file(path).items()}, {"format": "pt"})
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
