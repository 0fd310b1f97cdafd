"""The blocks of 8 bits that Retake rounds matrices to: how many values share a scale, and how rows are turned before.

A row in blocks of 32 to 256 values is turned: each 64 values (32 in blocks of 32) are multiplied by Hadamard's matrix H of
1 and -1, divided by its size. The way back is the product with H. Rows that no block divides are padded and not turned.
"""

import torch

SIZES = (256, 128, 64, 32)
WIDEST_TURN = 64


def layout(columns: int) -> tuple[int, int]:
    """Values in a block, and in a turn; a turn of 1 is none."""
    size = next((size for size in SIZES if columns % size == 0), None)
    return (32, 1) if size is None else (size, min(size, WIDEST_TURN))


def times_hadamard(rows: torch.Tensor, turn: int) -> torch.Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < turn:
        matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)])
    return (rows.reshape(-1, turn) @ matrix).reshape(rows.shape)


def rounded(value: torch.Tensor) -> torch.Tensor:
    """A matrix [out, in] as its blocks hold it: `max|w| / 127` to a step, in f32."""
    rows, columns = value.shape
    size, turn = layout(columns)
    turned = times_hadamard(value.float(), turn) / turn
    blocks = torch.nn.functional.pad(turned, (0, -columns % size)).reshape(rows, -1, size)
    step = blocks.abs().amax(dim=2, keepdim=True) / 127
    codes = torch.round(blocks / step.clamp(min=torch.finfo(torch.float32).tiny))
    return times_hadamard((codes * step).reshape(rows, -1)[:, :columns], turn)
