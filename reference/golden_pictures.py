"""Pictures as the trainer saves them (Pillow with its defaults), and how scikit-image compares pictures."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

# Neither side a multiple of a block of 8, so that the edges' padding counts too.
WIDTH, HEIGHT = 83, 61
# Red, green and blue, as MATLAB's rgb2gray weighs them.
GREY = np.array([0.29894, 0.58704, 0.11402])


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("pillow", "scikit-image", "numpy")}


def drawn() -> np.ndarray:
    """[HEIGHT, WIDTH, 3]: slopes, hard edges of saturated colour, and noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack([3 * x, 4 * y, 255 - 2 * x - y], axis=-1).astype(np.float64)
    picture[10:40, 12:33] = (230, 20, 30)
    picture[(x - 55) ** 2 + (y - 25) ** 2 < 200] = (20, 40, 240)
    picture[45:] += np.random.default_rng(1).normal(0, 40, (HEIGHT - 45, WIDTH, 3))
    return picture.clip(0, 255).round().astype(np.uint8)


def compared(a: np.ndarray, b: np.ndarray) -> dict:
    """SSIM of the grey pictures with the window of Wang et al. 2004; grey in whole numbers, as pictures hold it."""
    grey = [(picture @ GREY).round() for picture in (a, b)]
    similarity = structural_similarity(*grey, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return {
        "psnr": float(peak_signal_noise_ratio(a, b, data_range=255)),
        "ssim": float(similarity),
        "max_difference": int(np.abs(a.astype(int) - b.astype(int)).max()),
    }


def write(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    picture = drawn()
    noisy = (picture + np.random.default_rng(2).normal(0, 6, picture.shape)).clip(0, 255).round().astype(np.uint8)
    brighter = np.minimum(picture.astype(int) + 5, 255).astype(np.uint8)
    paths = []
    for name, pixels in {"picture": picture, "noisy": noisy, "brighter": brighter}.items():
        paths.append(folder / f"{name}.png")
        Image.fromarray(pixels).save(paths[-1])
    comparisons = {"noisy.png": compared(picture, noisy), "brighter.png": compared(picture, brighter)}
    for ending in ("jpg", "webp"):
        paths.append(folder / f"picture.{ending}")
        Image.fromarray(picture).save(paths[-1])
        decoded = np.asarray(Image.open(paths[-1]).convert("RGB"))
        comparisons[paths[-1].name] = compared(picture, decoded)
        # Lossless: what Pillow decodes.
        paths.append(folder / f"picture-{ending}.png")
        Image.fromarray(decoded).save(paths[-1])
    paths.append(folder / "comparisons.json")
    paths[-1].write_text(json.dumps({"against picture.png": comparisons}, indent=1) + "\n")
    return paths
