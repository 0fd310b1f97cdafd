"""Compares two traces; exit status 1 if any tensor is out of tolerance, missing or extra.

  python reference/compare.py REFERENCE.safetensors OURS.safetensors

Token ids: equal. sigmas: 1e-6; timesteps: 1e-3 (1e-6 of 1000). image: 1/255 for each value. Others:
|a - b| <= 1e-4 + 1e-3 * max|reference|. NaN fails. Needs numpy only (bf16 and f16 are read too).
"""

import argparse
import json
import struct
from pathlib import Path

import numpy as np


def read(path: str | Path) -> dict[str, np.ndarray]:
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    out = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        raw = data[8 + size + start : 8 + size + end]
        kind = entry["dtype"]
        if kind == "BF16":
            value = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            value = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4"}[kind])
        out[name] = value.reshape(entry["shape"])
    return out


ORDER = ["input_ids", "negative_input_ids", "prompt_embeds", "negative_prompt_embeds", "sigmas", "timesteps", "noise", "noise_pred", "latents", "image"]


def when(name: str) -> tuple:
    """Sorts names by when a run makes them, so that the first failure is the cause of the rest."""
    stage, _, step = name.partition(".")
    if stage not in ORDER:
        return (len(ORDER), 0, 0, name)
    if step.isdigit():
        return (ORDER.index("noise_pred"), int(step), ORDER.index(stage), name)
    return (ORDER.index(stage), 0, 0, name)


def tolerance(name: str, reference: np.ndarray, rtol: float = 1e-3) -> float:
    if name.endswith("input_ids"):
        return 0.0
    fixed = {"sigmas": 1e-6, "timesteps": 1e-3, "image": 1 / 255}
    return fixed.get(name, 1e-4 + rtol * float(np.abs(reference).max(initial=0)))


def compare(reference: dict, ours: dict, ignore: set[str] = frozenset(), rtol: float = 1e-3) -> list[tuple[str, bool, float, str]]:
    """Rows of (name, passed, error / tolerance, text)."""
    rows = []
    for name in sorted((reference.keys() | ours.keys()) - ignore, key=when):
        if name not in ours or name not in reference:
            rows.append((name, False, np.inf, "missing" if name not in ours else "not in the reference"))
            continue
        a, b = reference[name], ours[name]
        if a.shape != b.shape:
            rows.append((name, False, np.inf, f"shape {list(b.shape)}, reference {list(a.shape)}"))
            continue
        if a.size == 0:
            rows.append((name, True, 0.0, "empty"))
            continue
        with np.errstate(invalid="ignore"):
            error = np.abs(a.astype(np.float64) - b.astype(np.float64))
        error[~np.isfinite(error)] = np.inf  # NaN or infinity on either side
        index = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
        worst, limit = float(error.max()), tolerance(name, a, rtol)
        ratio = worst / limit if limit else (0.0 if worst == 0 else np.inf)
        rows.append((name, ratio <= 1, ratio, f"max error {worst:.3g} at {list(index)}, {ratio:.3g} of tolerance {limit:.3g}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("ours")
    parser.add_argument("--ignore", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--rtol", type=float, default=1e-3, help="for a bf16 reference, 1e-3 is below bf16's own rounding")
    args = parser.parse_args()
    rows = compare(read(args.reference), read(args.ours), set(args.ignore), args.rtol)
    for name, passed, _, text in rows:
        print(f"{'ok  ' if passed else 'FAIL'} {name:24} {text}")
    raise SystemExit(0 if all(passed for _, passed, *_ in rows) else 1)


if __name__ == "__main__":
    main()
