"""Goldens of what other tools make of a request: their noise, schedules and samplers. Called by `goldens.py`.

Functions are taken out of the tools' own files, one by one, and run as they are: importing the
files would need all of each tool. sd.cpp is C++; its few lines of arithmetic are repeated here.
"""

import ast
import math
from functools import partial
from pathlib import Path

import numpy as np
import scipy.stats
import torch

from golden_parts import shortest

STEPS = [*range(1, 31), 40, 50]
SHIFTS = [3.0, 1.73, 6.0]
SEEDS = [0, 7, 42, 2**40 + 5]
LARGE = 16 * 128 * 128
# Threads of an RTX 4090 (128 processors of 1536) and an A100 (108 of 2048), and few enough for a second turn.
THREADS = [196608, 221184, 16]


def take(path: Path, names: list[str], given: dict) -> dict:
    """The named functions and classes of a file, run in a namespace of their own."""
    tree = ast.parse(path.read_text())
    found = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    namespace = dict(given)
    wanted = [found[name] for name in names]
    for node in wanted:
        node.decorator_list = []
    exec(compile(ast.Module(wanted, []), str(path), "exec"), namespace)
    return namespace


def comfy_schedules(comfyui: Path) -> list[dict]:
    """`calculate_sigmas` with the model's sampling as `ModelSamplingAuraFlow` sets it."""
    sampling = take(comfyui / "comfy/model_sampling.py", ["time_snr_shift", "ModelSamplingDiscreteFlow"], {"torch": torch})
    names = ["simple_scheduler", "ddim_scheduler", "normal_scheduler", "beta_scheduler"]
    schedulers = take(comfyui / "comfy/samplers.py", names, {"torch": torch, "math": math, "numpy": np, "scipy": scipy})
    spaced = take(comfyui / "comfy/k_diffusion/sampling.py", ["append_zero", "get_sigmas_karras", "get_sigmas_exponential"], {"torch": torch, "math": math})
    handlers = {
        "simple": schedulers["simple_scheduler"],
        "sgm_uniform": partial(schedulers["normal_scheduler"], sgm=True),
        "normal": schedulers["normal_scheduler"],
        "beta": schedulers["beta_scheduler"],
        "ddim_uniform": schedulers["ddim_scheduler"],
        "karras": lambda s, n: spaced["get_sigmas_karras"](n, float(s.sigma_min), float(s.sigma_max)),
        "exponential": lambda s, n: spaced["get_sigmas_exponential"](n, float(s.sigma_min), float(s.sigma_max)),
    }
    cases = []
    for shift in SHIFTS:
        model = sampling["ModelSamplingDiscreteFlow"]()
        model.set_parameters(shift=shift, multiplier=1.0)
        for name, handler in handlers.items():
            for n in STEPS:
                if name == "karras" and n == 1:
                    continue  # 0 / 0 in the tool
                cases.append({"schedule": name, "shift": shift, "steps": n, "sigmas": shortest(handler(model, n))})
    return cases


def sdcpp_schedules() -> list[dict]:
    """`DiscreteScheduler` over `DiscreteFlowDenoiser` (src/runtime/denoiser.hpp, 97d29908), in f32."""
    f = np.float32
    cases = []
    for shift in SHIFTS:
        level = lambda t: f(shift) * ((t + f(1)) / f(1000)) / (f(1) + (f(shift) - f(1)) * ((t + f(1)) / f(1000)))
        for n in STEPS:
            step = f(999) / f(max(1, n - 1))
            sigmas = [level(f(999) - step * f(i)) for i in range(n)]
            cases.append({"schedule": "discrete", "shift": shift, "steps": n, "sigmas": shortest([*sigmas, 0])})
    return cases


def invoke(invokeai: Path) -> tuple[list[dict], list[dict]]:
    """`_get_sigmas` and `_calculate_shift` of InvokeAI's Z-Image denoising."""
    path = invokeai / "invokeai/app/invocations/z_image_denoise.py"
    methods = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    namespace: dict = {}
    exec(compile(ast.Module([node for node in methods if node.name in ("_get_sigmas", "_calculate_shift")], []), str(path), "exec"), namespace)
    schedules = [
        {"schedule": "linear", "shift": shift, "steps": n, "sigmas": shortest(namespace["_get_sigmas"](None, shift, n))}
        for shift in SHIFTS
        for n in STEPS
    ]
    sizes = [(512, 512), (768, 768), (832, 1216), (1024, 1024), (1536, 1536), (160, 128)]
    shifts = [{"width": w, "height": h, "shift": namespace["_calculate_shift"](None, (h // 16) * (w // 16))} for w, h in sizes]
    return schedules, shifts


def samplers(comfyui: Path) -> list[dict]:
    """Latents after each sampler; the network stands in as v = sin(3 x) + sigma."""
    names = ["to_d", "append_zero", "get_ancestral_step", "default_noise_sampler", "res_multistep", "sample_res_multistep", "sample_dpmpp_2m", "sample_heun", "sample_euler"]
    utils = type("utils", (), {"append_dims": staticmethod(lambda x, n: x[(...,) + (None,) * (n - x.ndim)])})
    sampling = take(comfyui / "comfy/k_diffusion/sampling.py", names, {"torch": torch, "math": math, "utils": utils, "trange": lambda n, disable=None: range(n)})

    def model(x, sigma):
        level = sigma[:, None]
        return x - level * (torch.sin(3 * x) + level)

    noise = torch.randn((1, 12), generator=torch.Generator().manual_seed(1))
    cases = []
    for sigmas in ([1.0, 0.9, 0.75, 0.5, 0.0], [1.0, 0.9474, 0.8824, 0.8, 0.6923, 0.5455, 0.3333, 0.0], [0.9, 0.4, 0.1, 0.0]):
        for name in ("euler", "res_multistep", "dpmpp_2m", "heun"):
            latents = sampling[f"sample_{name}"](model, noise.clone(), torch.tensor(sigmas), disable=True)
            cases.append({"sampler": name, "sigmas": sigmas, "noise": shortest(noise), "latents": shortest(latents)})
    return cases


def card_noise(philox: dict, seed: int, numel: int, threads: int) -> np.ndarray:
    """torch.randn on a graphics card of so many threads, over the copy's own rounds: see `philoxRandn`."""
    out = np.zeros(numel, dtype=np.float32)
    for turn in range(-(-numel // (4 * threads))):
        counter = np.zeros((4, threads), dtype=np.uint32)
        counter[0] = turn
        counter[2] = np.arange(threads, dtype=np.uint32)
        key = philox["uint32"](np.full(threads, seed, dtype=np.uint64))
        g = philox["philox4_32"](counter, key)
        for pair in range(2):
            u = g[2 * pair] * philox["two_pow32_inv"] + philox["two_pow32_inv"] / 2
            v = g[2 * pair + 1] * philox["two_pow32_inv_2pi"] + philox["two_pow32_inv_2pi"] / 2
            radius = np.sqrt(-2.0 * np.log(u))
            for part, wave in enumerate((np.sin, np.cos)):
                start = (4 * turn + 2 * pair + part) * threads
                room = out[start : start + threads]
                room[:] = (radius * wave(v)).astype(np.float32)[: len(room)]
    return out


def noise(forge: Path) -> list[dict]:
    """Forge's and A1111's software copy, and the layout of cards with fewer threads than values."""
    names = ["uint32", "philox4_round", "philox4_32", "box_muller", "Generator"]
    constants = {
        "np": np, "philox_m": [0xD2511F53, 0xCD9E8D57], "philox_w": [0x9E3779B9, 0xBB67AE85],
        "two_pow32_inv": np.array([2.3283064e-10], dtype=np.float32),
        "two_pow32_inv_2pi": np.array([2.3283064e-10 * 6.2831855], dtype=np.float32),
    }
    philox = take(forge / "modules/rng_philox.py", names, constants)
    cases = []
    for seed in SEEDS:
        for numel in (33, LARGE):
            values = philox["Generator"](seed).randn((numel,))
            cases.append(case_of(seed, numel, None, values))
    for threads in THREADS:
        numel = LARGE if threads > 1000 else 150
        cases.append(case_of(42, numel, threads, card_noise(philox, 42, numel, threads)))
    return cases


def case_of(seed: int, numel: int, threads: int | None, values: np.ndarray) -> dict:
    places = range(numel) if numel <= 150 else [*range(8), *range(196600, 196616), *range(221180, 221188), *range(numel - 8, numel)]
    extremes = np.abs(values).argsort()[-16:]
    chosen = sorted({*places, *map(int, extremes)})
    return {"seed": str(seed), "numel": numel, "threads": threads, "values": [[i, shortest(values[i])[0]] for i in chosen]}


def tools(comfyui: Path, forge: Path, invokeai: Path) -> dict:
    linear, shifts = invoke(invokeai)
    return {
        "note": "ComfyUI a125cd84, Forge dfdcbab6, InvokeAI 8e71a8a5, stable-diffusion.cpp 97d29908 (formula)",
        "schedules": [*comfy_schedules(comfyui), *sdcpp_schedules(), *linear],
        "auto_shifts": shifts,
        "samplers": samplers(comfyui),
        "noise": noise(forge),
    }
