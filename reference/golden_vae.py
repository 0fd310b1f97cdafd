"""Golden of a VAE decode whose norms run over millions of pixels. Called by `goldens.py`."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

CONFIG = dict(
    in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8,), layers_per_block=1, norm_num_groups=2,
    down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",), scaling_factor=0.3611, shift_factor=0.1159,
    mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False,
)
SIDE = 1024
STRIDE = 4099  # prime: samples fall in all columns


def latents() -> torch.Tensor:
    """Values between 0 and 1 that any language makes alike: their mean is far from 0, as a network's activations are."""
    i = torch.arange(4 * SIDE * SIDE, dtype=torch.int64)
    return (((i * 7919) % 1009).float() / 1009).reshape(1, 4, SIDE, SIDE)


def write(folder: Path) -> list[Path]:
    """`vae-large/`: the VAE as diffusers saves it, and every 4099th value of the picture in [0, 1]."""
    torch.manual_seed(3)
    vae = AutoencoderKL(**CONFIG).eval()
    out = folder / "vae-large"
    vae.save_pretrained(out)
    z = latents() / vae.config.scaling_factor + vae.config.shift_factor
    with torch.no_grad():
        image = (vae.decode(z, return_dict=False)[0] * 0.5 + 0.5).clamp(0, 1)
    save_file({"image": image.flatten()[::STRIDE].contiguous()}, out / "picture.safetensors")
    return sorted(out.iterdir())
