"""Writes a store's transformer in the formats of other tools, to measure them: fp8 cast and scaled, Q8_0, Q4_K.

  $HEAD reference/quantised_store.py STORE/ostris/Z-Image-De-Turbo/transformer OUT

Q4_K stands for Q4_K_M: the matrices of attention and feed-forward in Q4_K, every second w2 and q, k, v in Q6_K; what has
no rows of a multiple of 256 in Q5_1, as converters do where a K format doesn't fit; the rest in bf16.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

import quantised_files
from checkpoint_weights import save


def narrow(kind: str):
    def kind_of(name: str, value: torch.Tensor) -> str:
        if value.dim() == 1:
            return "F32"
        if not quantised_files.in_blocks(name, value) or "adaLN" in name:
            return "BF16"
        if kind == "Q8_0":
            return kind
        if value.shape[1] % 256:
            return "Q5_1"
        better = name.split(".")[1] in "13579" and ("w2" in name or "qkv" in name)
        return "Q6_K" if better else "Q4_K"

    return kind_of


def fp8_blocks(path: Path, state: dict) -> None:
    """A plain cast of the blocks' matrices; the rest in bf16, as most files have it."""
    save(path, {name: value.to(torch.float8_e4m3fn if quantised_files.in_blocks(name, value) else torch.bfloat16)
                for name, value in quantised_files.original_names(state).items()}, {"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transformer", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(args.transformer / "config.json", args.out / "config.json")
    state = {}
    for file in sorted(args.transformer.glob("*.safetensors")):
        state |= {name: value.float() for name, value in load_file(file).items()}
    fp8_blocks(args.out / "fp8.safetensors", state)
    quantised_files.fp8_scaled(args.out / "fp8-scaled.safetensors", state)
    quantised_files.gguf_file(args.out / "q8_0.gguf", state, narrow("Q8_0"))
    quantised_files.gguf_file(args.out / "q4_k.gguf", state, narrow("Q4_K"))


if __name__ == "__main__":
    main()
