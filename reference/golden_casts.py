"""Writes test/golden/casts: stored numbers as PyTorch casts them to f16 and f32.

  HEAD=<venv of requirements-head.txt>/bin/python
  $HEAD reference/golden_casts.py

Of the narrow dtypes every finite number that f16 reaches is cast, in the order of its bits, and kept as a hash. Of f32 a
few thousand are kept themselves: each side of each middle between two f16 numbers, subnormals, what becomes 0.
"""

import hashlib
import json

import torch
from safetensors.torch import save_file

from manifest import ROOT, record

OUT = ROOT / "casts"
VERSIONS = {"torch": torch.__version__}
WHAT = "numbers of each dtype in f16 and f32, as PyTorch casts them"
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


def every(dtype: torch.dtype) -> torch.Tensor:
    """Every number that is finite in f16 too, in the order of its bits."""
    if torch.finfo(dtype).bits == 16:
        values = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
    else:
        values = torch.arange(2**8, dtype=torch.int32).to(torch.uint8).view(dtype)
    return values[torch.isfinite(values.float()) & torch.isfinite(values.float().to(torch.float16).float())]


def digest(values: torch.Tensor) -> str:
    return hashlib.sha256(values.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def singles() -> torch.Tensor:
    """Around every 61st middle of f16, and everything around its subnormals' first ones."""
    halves = torch.arange(0, 0x7C00, dtype=torch.int16).view(torch.float16).double()
    middles = (halves[1:] + halves[:-1]) / 2
    some = torch.cat([middles[:64], middles[64::61], halves[::211]]).float()
    bits = some.view(torch.int32)
    around = torch.cat([bits, bits + 1, (bits - 1).clamp(min=0)]).view(torch.float32)
    tiny = torch.tensor([1e-45, 1e-40, 2.0**-126, 2.0**-26, 2.0**-25, 65504.0, 65519.99])
    values = torch.cat([around, tiny])
    values = values[torch.isfinite(values.to(torch.float16).float())]
    return torch.cat([values, -values])


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    hashes = {}
    for name, dtype in DTYPES.items():
        values = every(dtype)
        narrow = values.float().to(torch.float16)
        hashes[name] = {
            "count": len(values),
            "rounded": int((narrow.float() != values.float()).sum()),
            "F16": digest(narrow),
            "F32": digest(values.float()),
        }
    (OUT / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n")
    values = singles()
    save_file({"given": values, "f16": values.to(torch.float16)}, OUT / "singles.safetensors")
    record(OUT / "hashes.json", WHAT, "json", 0, 0, generation="head", versions=VERSIONS)
    record(OUT / "singles.safetensors", WHAT, "f16", 0, 0, generation="head", versions=VERSIONS)


main()
