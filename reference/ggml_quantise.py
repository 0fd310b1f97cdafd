"""Rounds matrices to the block formats of GGUF files that the `gguf` package reads but doesn't write: Q4_K, Q5_K, Q6_K.

Plain rounding, without the search for better scales that llama.cpp makes; its files are a little nearer to
their originals. The package's own `dequantize` is what says which values a block holds.
"""

import gguf
import numpy as np

K_TYPES = {"Q4_K", "Q5_K", "Q6_K"}


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def half(x: np.ndarray) -> np.ndarray:
    """[n] f32 as the bytes of f16, [n, 2]."""
    return x.astype(np.float16).view(np.uint8).reshape(-1, 2)


def pack_scales(scales: np.ndarray, mins: np.ndarray) -> np.ndarray:
    """8 scales and 8 minima of 6 bits, [n, 8] each, in 12 bytes: the K formats' `get_scale_min`."""
    low = (scales[:, :4] & 63) | ((scales[:, 4:] >> 4) << 6)
    middle = (mins[:, :4] & 63) | ((mins[:, 4:] >> 4) << 6)
    high = (scales[:, 4:] & 15) | ((mins[:, 4:] & 15) << 4)
    return np.concatenate([low, middle, high], axis=1).astype(np.uint8)


def with_minima(values: np.ndarray, bits: int):
    """Codes [n, 8, 32], and the 144 or 176 bytes' first 16: d, dmin, scales. Values are d·scale·code - dmin·min."""
    groups = values.reshape(-1, 8, 32)
    low = np.minimum(groups.min(axis=2), 0)
    scale, floor = (groups.max(axis=2) - low) / (2**bits - 1), -low
    d, dmin = (x.max(axis=1).astype(np.float32) / 63 for x in (scale, floor))
    d, dmin = (x.astype(np.float16).astype(np.float32) for x in (d, dmin))
    scales = np.clip(np.rint(divide(scale, d[:, None].repeat(8, 1))), 0, 63).astype(np.int32)
    mins = np.clip(np.rint(divide(floor, dmin[:, None].repeat(8, 1))), 0, 63).astype(np.int32)
    step, base = d[:, None] * scales, dmin[:, None] * mins
    codes = np.rint(divide(groups + base[:, :, None], step[:, :, None].repeat(32, 2)))
    return np.clip(codes, 0, 2**bits - 1).astype(np.uint8), np.concatenate([half(d), half(dmin), pack_scales(scales, mins)], axis=1)


def q4_k(values: np.ndarray) -> np.ndarray:
    codes, head = with_minima(values, 4)
    pairs = codes.reshape(-1, 4, 2, 32)
    return np.concatenate([head, (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)], axis=1)


def q5_k(values: np.ndarray) -> np.ndarray:
    codes, head = with_minima(values, 5)
    fifth = np.zeros((len(codes), 32), np.uint8)
    for i in range(8):
        fifth |= (codes[:, i] >> 4) << i
    pairs = (codes & 15).reshape(-1, 4, 2, 32)
    return np.concatenate([head, fifth, (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)], axis=1)


def q6_k(values: np.ndarray) -> np.ndarray:
    groups = values.reshape(-1, 16, 16)
    scale = np.abs(groups).max(axis=2) / 31
    d = (scale.max(axis=1) / 127).astype(np.float16).astype(np.float32)
    scales = np.clip(np.rint(divide(scale, d[:, None].repeat(16, 1))), 1, 127)
    step = (d[:, None] * scales)[:, :, None].repeat(16, 2)
    codes = (np.clip(np.rint(divide(groups, step)), -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = codes & 15
    low = np.concatenate([low[:, :, 0] | low[:, :, 2] << 4, low[:, :, 1] | low[:, :, 3] << 4], axis=2)
    high = codes >> 4
    high = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    return np.concatenate([low.reshape(-1, 128), high.reshape(-1, 64), scales.astype(np.int8).view(np.uint8), half(d)], axis=1)


def quantise(matrix: np.ndarray, name: str) -> np.ndarray:
    """A matrix [rows, columns] as the bytes of a block format, [rows, bytes]."""
    kind = gguf.GGMLQuantizationType[name]
    if name not in K_TYPES:
        return gguf.quants.quantize(matrix, kind)
    rows, columns = matrix.shape
    if columns % 256:
        raise ValueError(f"{name} takes rows of a multiple of 256, not {columns}")
    blocks = {"Q4_K": q4_k, "Q5_K": q5_k, "Q6_K": q6_k}[name](matrix.astype(np.float32).reshape(-1, 256))
    return blocks.reshape(rows, -1)


def dequantise(data: np.ndarray, name: str) -> np.ndarray:
    return gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name])
