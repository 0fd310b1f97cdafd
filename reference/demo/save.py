"""Writes the trained family as bf16 under the Hub's names. Used by `train.py`."""

import json
import shutil
from pathlib import Path

import torch
from make_checkpoint import FOLDERS, MODEL_INDEX, SHIFT, scheduler_config, write_config
from safetensors.torch import load_file, save_file


def save_family(weights: Path, random_root: Path, encoder, vae, transformers: dict) -> None:
    for name, transformer in transformers.items():
        root = weights / FOLDERS[name]
        shutil.rmtree(root, ignore_errors=True)
        # Turbo comes in shards, as it does on the Hub.
        size = "1500KB" if name == "turbo" else "10GB"
        transformer.to(torch.bfloat16).save_pretrained(root / "transformer", max_shard_size=size)
        tidy_config(root / "transformer" / "config.json")
        if name == "deturbo":
            continue
        write_config(root / "model_index.json", MODEL_INDEX)
        write_config(root / "scheduler" / "scheduler_config.json", scheduler_config(SHIFT[name]))
        shutil.copytree(random_root / "tokenizer", root / "tokenizer")
        write_encoder(root / "text_encoder", encoder, random_root / "text_encoder" / "config.json")
        vae.to(torch.bfloat16).save_pretrained(root / "vae")
        tidy_config(root / "vae" / "config.json")


def write_encoder(folder: Path, encoder, hub_config: Path) -> None:
    """With the `model.` prefix that the Hub's files have, and `rope_theta` at the top: transformers 4 ignores the `rope_parameters` that 5 writes."""
    encoder.to(torch.bfloat16).save_pretrained(folder)
    file = folder / "model.safetensors"
    tensors = {name if name.startswith("model.") else f"model.{name}": value for name, value in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    write_config(folder / "config.json", {**json.loads(hub_config.read_text()), "torch_dtype": "bfloat16"})


def tidy_config(file: Path) -> None:
    """Drops where the weights lay while they were trained."""
    config = json.loads(file.read_text())
    write_config(file, {key: value for key, value in config.items() if key not in ("_name_or_path", "_diffusers_version")})
