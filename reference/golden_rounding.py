"""Writes test/golden/rounding: matrices rounded by the libraries that ai-toolkit uses, optimum-quanto and torchao.

  ROUNDING=<venv of requirements-rounding.txt>/bin/python
  $ROUNDING reference/golden_rounding.py

Made-up rows hold what is rare (ties, subnormals, huge and tiny rows); the demonstration's matrices are kept as hashes. The training adapter is merged as ai-toolkit merges it: B·A in f32 onto W in f32, then bf16.
"""

import hashlib
import json
from pathlib import Path

import torch
from optimum.quanto import freeze, qfloat8
from optimum.quanto.quantize import _quantize_submodule
from safetensors.torch import load_file, save_file
from torchao.quantization.quant_api import Float8WeightOnlyConfig, UIntXWeightOnlyConfig, quantize_

from manifest import record

TOP = Path(__file__).resolve().parent.parent
OUT = TOP / "test" / "golden" / "rounding"
STORE = TOP / "demo" / "weights"
ADAPTER = STORE / "ostris/zimage_turbo_training_adapter/zimage_turbo_training_adapter_v2.safetensors"
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


def uint(bits: int):
    def rounded(weight: torch.Tensor) -> torch.Tensor:
        model = linear(weight)
        quantize_(model, UIntXWeightOnlyConfig(getattr(torch, f"uint{bits}")))
        return model[0].weight.dequantize()

    return rounded


METHODS = {"quanto": quanto, "torchao": torchao, **{f"uint{bits}": uint(bits) for bits in range(2, 8)}}
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def e4m3_values() -> torch.Tensor:
    """All that are not negative, in order."""
    return torch.arange(0, 0x7F, dtype=torch.uint8).view(torch.float8_e4m3fn).float()


def row(*parts: torch.Tensor) -> torch.Tensor:
    """[1, 512]: the parts one after the other, and again."""
    values = torch.cat(parts)
    return values.repeat(-(-512 // len(values)))[:512][None]


def made_up() -> dict[str, torch.Tensor]:
    """In f32. Groups of the uint types are 64 wide."""
    generator = torch.Generator().manual_seed(11)
    values = e4m3_values()
    middles = (values[1:] + values[:-1]) / 2
    # The largest is there, so a row's scale is exactly 1, and 1/64 in the second.
    ties = row(values, middles, -middles, -values)
    near = row(middles * (1 + 2**-7), middles * (1 - 2**-8), values, -values)
    whole = row(torch.arange(0, 128).float(), torch.arange(0, 64) + 0.5, torch.arange(-32, 32) / 2)
    normal = torch.randn(3, 512, generator=generator)
    wide = torch.randn(3, 512, generator=generator) * 2.0 ** torch.randint(-12, 1, (3, 512), generator=generator)
    signs = torch.where(torch.arange(512) % 2 == 0, 0.0, -0.0)[None].repeat(1, 1)
    signs[0, 3] = 0.3
    positive = normal[:1].abs() + 0.25
    rows = torch.cat([ties, ties / 64, near, near * 3, whole, normal * 0.02, wide * 0.1, signs, positive, -positive])
    sizes = 2.0 ** torch.linspace(-120, 118, 6)[:, None]
    lonely = torch.full((2, 512), 1e-4)
    lonely[:, 7] = torch.tensor([1.0, -3e38])
    tiny = torch.randn(2, 512, generator=generator) * torch.tensor([[1e-36], [1e-38]])
    huge = torch.cat([torch.randn(6, 512, generator=generator) * sizes, lonely, tiny])
    return {"rows": rows, "sizes": huge, "zeros": torch.zeros(2, 512)}


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
    return hashlib.sha256(value.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    tensors, hashes = {}, {}
    for dtype, kind in DTYPES.items():
        for name, value in made_up().items():
            # f16 holds no such sizes.
            if name == "sizes" and dtype == "f16":
                continue
            tensors[f"{dtype}.{name}"] = value.to(kind)
            for method, rounded in METHODS.items():
                tensors[f"{dtype}.{name}.{method}"] = rounded(value.to(kind))

    def keep(kind: str, name: str, value: torch.Tensor) -> None:
        hashes.setdefault(kind, {})[name] = digest(value)

    adapter = load_file(ADAPTER)
    for name, value in part_of("Tongyi-MAI/Z-Image-Turbo", "transformer").items():
        if not is_matrix(name, value):
            continue
        keep("transformer.quanto", name, quanto(value))
        keep("transformer.torchao", name, torchao(value))
        keep("transformer.merged", name, merged(name, value, adapter))
        keep("transformer.torchao+adapter", name, torchao(merged(name, value, adapter)))
        keep("transformer.quanto f32", name, quanto(value.float()))
        keep("transformer.torchao+adapter f32", name, torchao(merged(name, value.float(), adapter)))
        if value.shape[1] % 64 == 0:
            keep("transformer.uint4", name, uint(4)(value))
    for name, value in part_of("Tongyi-MAI/Z-Image-Turbo", "text_encoder").items():
        if is_matrix(name, value):
            keep("text_encoder.quanto", name, quanto(value))
            keep("text_encoder.torchao", name, torchao(value))
    save_file({name: value.contiguous() for name, value in tensors.items()}, OUT / "matrices.safetensors")
    (OUT / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    what = "matrices rounded by optimum-quanto and torchao, as ai-toolkit quantises: whole, or the SHA-256 of their bytes"
    for name in ("matrices.safetensors", "hashes.json"):
        record(OUT / name, what, "bf16, f16, f32", 0, 0, generation="rounding", versions=VERSIONS)


if __name__ == "__main__":
    main()
