"""Goldens of VAE decodes, called by `goldens.py`: norms over millions of pixels, and sizes that divide into no even bands."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

LARGE = dict(
    in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8,), layers_per_block=1, norm_num_groups=2,
    down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",), scaling_factor=0.3611, shift_factor=0.1159,
    mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False,
)
# Four levels as the real one has, of other widths, and the convolution before the decoder that it lacks.
SHAPES = dict(
    in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(4, 8, 12, 16), layers_per_block=1, norm_num_groups=2,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.3611, shift_factor=0.1159,
    mid_block_add_attention=True, use_quant_conv=False, use_post_quant_conv=True,
)
SIDE = 1024
STRIDE = 4099  # prime: samples fall in all columns
LATENTS = [(1, 1), (8, 8), (7, 13), (33, 9), (5, 64), (128, 128)]  # height, width


def latents(height: int, width: int) -> torch.Tensor:
    """Values between 0 and 1 that any language makes alike: their mean is far from 0, as a network's activations are."""
    i = torch.arange(4 * height * width, dtype=torch.int64)
    return (((i * 7919) % 1009).float() / 1009).reshape(1, 4, height, width)


def decode(vae: AutoencoderKL, z: torch.Tensor) -> torch.Tensor:
    z = z / vae.config.scaling_factor + vae.config.shift_factor
    with torch.no_grad():
        return (vae.decode(z, return_dict=False)[0] * 0.5 + 0.5).clamp(0, 1)


def write_large(out: Path) -> list[Path]:
    """`vae-large/`: the VAE as diffusers saves it, and every 4099th value of the picture in [0, 1]."""
    torch.manual_seed(3)
    vae = AutoencoderKL(**LARGE).eval()
    vae.save_pretrained(out)
    image = decode(vae, latents(SIDE, SIDE))
    save_file({"image": image.flatten()[::STRIDE].contiguous()}, out / "picture.safetensors")
    return sorted(out.iterdir())


def write_shapes(out: Path) -> list[Path]:
    """`vae-shapes/`: a VAE, and its pictures by the latents' height and width; of larger ones every 41st or 401st value."""
    torch.manual_seed(5)
    vae = AutoencoderKL(**SHAPES).eval()
    attention = vae.decoder.mid_block.attentions[0]
    with torch.no_grad():
        # As initialised every place looks at all others alike, and a wrong softmax would not show.
        for part in (attention.to_q, attention.to_k):
            part.weight *= 3
    vae.save_pretrained(out)
    images = {f"{h}x{w}": decode(vae, latents(h, w)).flatten() for h, w in LATENTS}
    every = lambda image: 1 if image.numel() < 20_000 else 41 if image.numel() < 200_000 else 401
    save_file({name: image[:: every(image)].contiguous() for name, image in images.items()}, out / "pictures.safetensors")
    return sorted(out.iterdir())
