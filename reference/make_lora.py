"""Writes a random LoRA in ai-toolkit's format for a given transformer.

  python reference/make_lora.py STORE/Tongyi-MAI/Z-Image-Turbo/transformer OUT.safetensors --ranks 4
  ... --ranks 1,4,16 --modules some --dtype bf16 --gain 0.5 --seed 3

Several ranks are dealt out by module (mixed ranks). No alpha is stored, as ai-toolkit stores none: the
scale is 1 for every module.
"""

import argparse
import json
import math
import random
from pathlib import Path

import torch

from checkpoint_weights import save

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
TARGETS = ["attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3",
           "adaLN_modulation.0"]


def sizes(config: dict) -> dict[str, tuple[int, int]]:
    """Module -> (in, out); the refiners are not trained by ai-toolkit."""
    dim, hidden = config["dim"], int(config["dim"] / 3 * 8)
    of = {"feed_forward.w1": (dim, hidden), "feed_forward.w3": (dim, hidden), "feed_forward.w2": (hidden, dim),
          "adaLN_modulation.0": (min(dim, 256), 4 * dim)}
    return {f"layers.{i}.{name}": of.get(name, (dim, dim)) for i in range(config["n_layers"]) for name in TARGETS}


def make_lora(config: dict, ranks: list[int], modules: str, dtype: str, gain: float, seed: int) -> dict[str, torch.Tensor]:
    """B(Ax) has about `gain` times x's size."""
    rng, generator, out = random.Random(seed), torch.Generator().manual_seed(seed), {}
    names = sizes(config)
    chosen = [name for name in names if modules == "all" or rng.random() < 0.5] or list(names)[:1]
    for i, name in enumerate(chosen):
        rank = ranks[i % len(ranks)] if i < len(ranks) else rng.choice(ranks)
        width, height = names[name]
        a = torch.randn(rank, width, generator=generator) / math.sqrt(width)
        b = torch.randn(height, rank, generator=generator) * gain / math.sqrt(rank)
        out[f"diffusion_model.{name}.lora_A.weight"] = a.to(DTYPES[dtype])
        out[f"diffusion_model.{name}.lora_B.weight"] = b.to(DTYPES[dtype])
    return out


def header(name: str, step: int) -> dict[str, str]:
    return {
        "format": "pt", "name": name, "version": "1.0", "ss_output_name": name, "ss_base_model_version": "zimage",
        "training_info": json.dumps({"step": step, "epoch": 1}),
        "software": json.dumps({"name": "ai-toolkit", "repo": "https://github.com/ostris/ai-toolkit", "version": "0.12.26"}),
        "ss_tag_frequency": json.dumps({"1_ohwx": {"ohwx": 1}}), "sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transformer", type=Path, help="folder with the transformer's config.json")
    parser.add_argument("out", type=Path)
    parser.add_argument("--ranks", type=lambda text: [int(part) for part in text.split(",")], default=[4])
    parser.add_argument("--modules", choices=["all", "some"], default="all", help="some: each with probability one half")
    parser.add_argument("--dtype", choices=list(DTYPES), default="f16")
    parser.add_argument("--gain", type=float, default=0.3)
    parser.add_argument("--step", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = json.loads((args.transformer / "config.json").read_text())
    tensors = make_lora(config, args.ranks, args.modules, args.dtype, args.gain, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save(args.out, tensors, header(args.out.stem, args.step))
    print(f"{args.out}: {len(tensors) // 2} modules")


if __name__ == "__main__":
    main()
