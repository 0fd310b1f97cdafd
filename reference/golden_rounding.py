"""Writes test/golden/rounding: matrices rounded to 8 bits by the libraries that ai-toolkit uses, optimum-quanto and torchao.

  ROUNDING=<venv of requirements-rounding.txt>/bin/python
  $ROUNDING reference/golden_rounding.py

Made-up rows hold what is rare (ties, subnormals, huge and tiny rows); of the demonstration's matrices, all are kept as
hashes and a few whole. The training adapter is merged as ai-toolkit merges it: B·A in f32 onto W in f32, then bf16.
"""

import hashlib
import json
from pathlib import Path

import torch
from optimum.quanto import freeze, qfloat8
from optimum.quanto.quantize import _quantize_submodule
from safetensors.torch import load_file, save_file
from torchao.quantization.quant_api import Float8WeightOnlyConfig, quantize_

from manifest import record

TOP = Path(__file__).resolve().parent.parent
OUT = TOP / "test" / "golden" / "rounding"
STORE = TOP / "demo" / "weights"
ADAPTER = STORE / "ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors"
WHOLE = ["layers.0.attention.to_q", "model.layers.0.self_attn.k_proj"]
VERSIONS = {"torch": torch.__version__, "torchao": "0.10.0", "optimum-quanto": "0.2.4"}


def linear(weight: torch.Tensor) -> torch.nn.Module:
    module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    module.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    return torch.nn.Sequential(module)


def quanto(weight: torch.Tensor) -> torch.Tensor:
    model = linear(weight)
    _quantize_submodule(model, "0", model[0], weights=qfloat8, activations=None, optimizer=None)
    freeze(model)
    return model[0].weight.dequantize()


def torchao(weight: torch.Tensor) -> torch.Tensor:
    model = linear(weight)
    quantize_(model, Float8WeightOnlyConfig())
    return model[0].weight.dequantize()


def e4m3_values() -> torch.Tensor:
    """All that are not negative, in order."""
    return torch.arange(0, 0x7F, dtype=torch.uint8).view(torch.float8_e4m3fn).float()


def made_up() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    values = e4m3_values()
    middles = (values[1:] + values[:-1]) / 2
    # The largest is there, so a row's scale is exactly 1, and 1/64 in the second.
    ties = torch.cat([values, middles, -middles, -values])[:504]
    near = torch.cat([middles * (1 + 2**-7), middles * (1 - 2**-8), values, -values])[:504]
    normal = torch.randn(12, 504, generator=generator)
    sizes = 2.0 ** torch.linspace(-120, 118, 12)[:, None]
    wide = torch.randn(12, 504, generator=generator) * 2.0 ** torch.randint(-24, 1, (12, 504), generator=generator)
    lonely = torch.full((2, 504), 1e-4)
    lonely[:, 7] = torch.tensor([1.0, -3e38])
    tiny = torch.randn(2, 504, generator=generator) * torch.tensor([[1e-36], [1e-38]])
    signs = torch.where(torch.arange(504) % 2 == 0, 0.0, -0.0)[None].repeat(1, 1)
    signs[0, 3] = 0.3
    rows = torch.cat([ties[None], ties[None] / 64, near[None], near[None] * 3, normal * 0.02, normal * sizes, wide * 0.1, lonely, signs])
    return {"rows": rows.bfloat16(), "tiny": tiny.bfloat16(), "zeros": torch.zeros(2, 504, dtype=torch.bfloat16)}


def part_of(repository: str, name: str) -> dict[str, torch.Tensor]:
    state = {}
    for file in sorted((STORE / repository / name).glob("*.safetensors")):
        state |= load_file(file)
    return state


def is_matrix(name: str, value: torch.Tensor) -> bool:
    return value.dim() == 2 and name.endswith(".weight") and "embed_tokens" not in name


def merged(name: str, weight: torch.Tensor, adapter: dict[str, torch.Tensor]) -> torch.Tensor:
    module = f"diffusion_model.{name.removesuffix('.weight')}"
    if f"{module}.lora_A.weight" not in adapter:
        return weight
    down, up = adapter[f"{module}.lora_A.weight"].float(), adapter[f"{module}.lora_B.weight"].float()
    return (weight.float() + 1.0 * (up @ down) * 1.0).to(weight.dtype)


def digest(value: torch.Tensor) -> str:
    return hashlib.sha256(value.contiguous().view(torch.int16).numpy().tobytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    tensors, hashes = {}, {}
    for name, value in made_up().items():
        tensors[f"{name}.in"] = value
        tensors[f"{name}.torchao"] = torchao(value)
        tensors[f"{name}.quanto"] = quanto(value)

    def keep(kind: str, name: str, value: torch.Tensor) -> None:
        hashes.setdefault(kind, {})[name] = digest(value)
        if name.removesuffix(".weight") in WHOLE:
            tensors[f"{kind}.{name}"] = value

    adapter = load_file(ADAPTER)
    for name, value in part_of("Tongyi-MAI/Z-Image-Turbo", "transformer").items():
        if not is_matrix(name, value):
            continue
        keep("transformer.quanto", name, quanto(value))
        keep("transformer.torchao", name, torchao(value))
        keep("transformer.merged", name, merged(name, value, adapter))
        keep("transformer.torchao+adapter", name, torchao(merged(name, value, adapter)))
    for name, value in part_of("Tongyi-MAI/Z-Image-Turbo", "text_encoder").items():
        if is_matrix(name, value):
            keep("text_encoder.quanto", name, quanto(value))
            keep("text_encoder.torchao", name, torchao(value))
    save_file({name: value.contiguous() for name, value in tensors.items()}, OUT / "matrices.safetensors")
    (OUT / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    what = "matrices rounded to 8 bits by optimum-quanto and torchao, as ai-toolkit quantises: whole, or the SHA-256 of their bf16 bytes"
    for name in ("matrices.safetensors", "hashes.json"):
        record(OUT / name, what, "bf16", 0, 0, generation="rounding", versions=VERSIONS)


if __name__ == "__main__":
    main()
