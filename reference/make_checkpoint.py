"""Writes a store of random Z-Image models, of any size, in the Hub's folder layout.

  python reference/make_checkpoint.py OUT                          # tiny, f32, Turbo only
  python reference/make_checkpoint.py OUT --models turbo base deturbo --layers 4 --dtype bf16
  python reference/make_checkpoint.py OUT --preset real            # full shapes, bf16, about 21 GB

Turbo and base share the text encoder, VAE and tokenizer (hard-linked); De-Turbo is a transformer alone.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import torch

from checkpoint_tokenizer import copy_tokenizer, write_tokenizer
from checkpoint_weights import POOL_SIZE, Pool, shapes_of, write_model

FOLDERS = {"turbo": "Tongyi-MAI/Z-Image-Turbo", "base": "Tongyi-MAI/Z-Image", "deturbo": "ostris/Z-Image-De-Turbo"}
SHIFT = {"turbo": 3.0, "base": 6.0}
TINY = dict(dim=48, heads=2, axes=[8, 8, 8], layers=2, refiner_layers=1, cap_dim=32, te_layers=3, te_heads=4, te_kv_heads=2, te_head_dim=16,
            te_intermediate=64, vocab=0, vae_channels=[4, 8, 16, 16], vae_groups=4, dtype="f32", shard_bytes=10**9)
REAL = dict(dim=3840, heads=30, axes=[32, 48, 48], layers=30, refiner_layers=2, cap_dim=2560, te_layers=36, te_heads=32, te_kv_heads=8,
            te_head_dim=128, te_intermediate=9728, vocab=151936, vae_channels=[128, 256, 512, 512], vae_groups=32, dtype="bf16",
            shard_bytes=4 * 10**9)


def transformer_config(o) -> dict:
    return {
        "_class_name": "ZImageTransformer2DModel", "all_f_patch_size": [1], "all_patch_size": [2], "axes_dims": o.axes, "axes_lens": o.axes_lens,
        "cap_feat_dim": o.cap_dim, "dim": o.dim, "in_channels": 16, "n_heads": o.heads, "n_kv_heads": o.heads, "n_layers": o.layers,
        "n_refiner_layers": o.refiner_layers, "norm_eps": 1e-5, "qk_norm": True, "rope_theta": 256.0, "t_scale": 1000.0,
    }


def text_config(o) -> dict:
    return {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False, "attention_dropout": 0.0, "head_dim": o.te_head_dim,
        "hidden_act": "silu", "hidden_size": o.cap_dim, "initializer_range": 0.02, "intermediate_size": o.te_intermediate,
        "max_position_embeddings": 40960, "max_window_layers": o.te_layers, "num_attention_heads": o.te_heads,
        "num_hidden_layers": o.te_layers, "num_key_value_heads": o.te_kv_heads, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}[o.dtype],
        "use_cache": True, "use_sliding_window": False, "vocab_size": o.vocab,
    }


def vae_config(o) -> dict:
    count = len(o.vae_channels)
    return {
        "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": o.vae_channels, "down_block_types": ["DownEncoderBlock2D"] * count,
        "force_upcast": True, "in_channels": 3, "latent_channels": 16, "layers_per_block": 2, "mid_block_add_attention": True,
        "norm_num_groups": o.vae_groups, "out_channels": 3, "sample_size": 1024, "scaling_factor": 0.3611, "shift_factor": 0.1159,
        "up_block_types": ["UpDecoderBlock2D"] * count, "use_post_quant_conv": False, "use_quant_conv": False,
    }


def scheduler_config(shift: float) -> dict:
    return {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": shift, "use_dynamic_shifting": False}


MODEL_INDEX = {
    "_class_name": "ZImagePipeline", "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "Qwen3Model"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"], "transformer": ["diffusers", "ZImageTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
}


def write_config(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_transformer(folder: Path, o, pool: Pool, name: str) -> None:
    from diffusers import ZImageTransformer2DModel

    config = transformer_config(o)
    with torch.device("meta"):
        model = ZImageTransformer2DModel(**{k: v for k, v in config.items() if not k.startswith("_")})
    write_config(folder / "config.json", config)
    write_model(folder, "diffusion_pytorch_model", shapes_of(model), pool, o.dtype, o.shard_bytes, f"{name}/transformer")


def write_encoder_and_vae(root: Path, o, pool: Pool) -> None:
    from diffusers import AutoencoderKL
    from transformers import Qwen3Config, Qwen3Model

    config = text_config(o)
    with torch.device("meta"):
        model = Qwen3Model(Qwen3Config(**config))
    write_config(root / "text_encoder" / "config.json", config)
    write_model(root / "text_encoder", "model", shapes_of(model, "model."), pool, o.dtype, o.shard_bytes, "text_encoder")

    config = vae_config(o)
    with torch.device("meta"):
        vae = AutoencoderKL(**{k: v for k, v in config.items() if not k.startswith("_")})
    write_config(root / "vae" / "config.json", config)
    write_model(root / "vae", "diffusion_pytorch_model", shapes_of(vae), pool, o.dtype, 2**62, "vae")


def make_store(out: Path, o) -> None:
    """Writes `o.models` under `out`; `o.vocab` 0 means what the tokenizer needs, with spare ids as in Qwen3."""
    shared = None
    pool = Pool(o.seed, POOL_SIZE if o.dim * o.layers > 2000 else 1_000_003)
    for name in o.models:
        root = out / FOLDERS[name]
        if name != "deturbo":
            write_config(root / "model_index.json", MODEL_INDEX)
            write_config(root / "scheduler" / "scheduler_config.json", scheduler_config(SHIFT[name]))
            if shared:
                for part in ("tokenizer", "text_encoder", "vae"):
                    shutil.copytree(shared / part, root / part, copy_function=os.link, dirs_exist_ok=False)
            else:
                ids = copy_tokenizer(o.tokenizer, root / "tokenizer") if o.tokenizer else write_tokenizer(root / "tokenizer", o.merges)
                o.vocab = o.vocab or -(-(ids + 7) // 16) * 16
                write_encoder_and_vae(root, o, pool)
                shared = root
        write_transformer(root / "transformer", o, pool, name)


def options(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", choices=["tiny", "real"], default="tiny", help="defaults of the flags below")
    parser.add_argument("--models", nargs="+", choices=list(FOLDERS), default=["turbo"])
    numbers = lambda text: [int(part) for part in text.split(",")]
    for flag in ("dim", "heads", "layers", "refiner-layers", "cap-dim", "te-layers", "te-heads", "te-kv-heads", "te-head-dim", "te-intermediate",
                 "vocab", "vae-groups", "shard-bytes"):
        parser.add_argument(f"--{flag}", type=int)
    parser.add_argument("--axes", type=numbers, help="rope widths, their sum is dim / heads: 8,8,8")
    parser.add_argument("--axes-lens", type=numbers, default=[1536, 512, 512])
    parser.add_argument("--vae-channels", type=numbers)
    parser.add_argument("--dtype", choices=["f32", "bf16", "f16"])
    parser.add_argument("--tokenizer", type=Path, help="copy this folder instead of training a tiny one")
    parser.add_argument("--merges", type=int, default=256, help="size of the tiny tokenizer beyond the 256 bytes")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args(argv)
    for name, value in (REAL if o.preset == "real" else TINY).items():
        if getattr(o, name) is None:
            setattr(o, name, value)
    if sum(o.axes) * o.heads != o.dim:
        parser.error(f"axes {o.axes} must sum to dim / heads = {o.dim / o.heads:g}")
    return o


if __name__ == "__main__":
    args = options()
    start = time.time()
    make_store(args.out, args)
    print(f"{args.out}: {', '.join(args.models)} in {time.time() - start:.1f} s")
