"""Times one request in diffusers, for `npm run bench`: seconds per step, seconds in all, peak memory. Prints JSON.

  python reference/bench_peer.py STORE MODEL SIZE STEPS GUIDANCE {f32,bf16}
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    store, model, size, steps, guidance, dtype = sys.argv[1:]
    start = time.perf_counter()
    root = Path(store)
    parts = {}
    if model == "zimage_deturbo":
        folder = root / "ostris/Z-Image-De-Turbo/transformer"
        parts["transformer"] = ZImageTransformer2DModel.from_pretrained(folder, torch_dtype=DTYPES[dtype])
    base = "Tongyi-MAI/Z-Image" if model == "zimage" else "Tongyi-MAI/Z-Image-Turbo"
    pipe = ZImagePipeline.from_pretrained(root / base, torch_dtype=DTYPES[dtype], **parts)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe.set_progress_bar_config(disable=True)
    ends = []

    def note(*_):
        ends.append(time.perf_counter())
        return {}

    pipe("a red fox sits under a cherry blossom tree", height=int(size), width=int(size), num_inference_steps=int(steps),
         guidance_scale=float(guidance), generator=torch.Generator("cpu").manual_seed(42), callback_on_step_end=note)
    total = time.perf_counter() - start
    step = statistics.median_high([b - a for a, b in zip(ends, ends[1:])])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"stepSeconds": step, "requestSeconds": total, "peakMiB": peak}))


if __name__ == "__main__":
    main()
