"""Goldens of every LoRA format: small random files, and the pictures and latents that the reference makes with them.

  $HEAD reference/golden_loras.py OUT --ai-toolkit CHECKOUT --lycoris CHECKOUT [--seed 1]

Uses the tiny store of `test/golden`. What diffusers loads, diffusers runs; LoKr and DoRA of ai-toolkit, and LoHa, LoKr and DoRA of
LyCORIS are run by those trainers' own modules (`trainer_modules.py`). Every file runs at multipliers -1, 0, 0.5, 1 and 2.
"""

import argparse
import contextlib
import json
import shutil
from pathlib import Path

import torch

import trace
import trainer_modules
from checkpoint_weights import save
from lora_files import ATTENTION, BLOCK, QKV, REFINERS, Maker, load, make_files
from make_lora import header

TINY = Path(__file__).resolve().parent.parent / "test" / "golden" / "tiny"
MULTIPLIERS = [-1.0, 0.0, 0.5, 1.0, 2.0]
REQUEST = dict(prompt="photo of ohwx", neg="blurry", seed=3, steps=2, guidance=1.5, width=32, height=64)
SEVERAL = {"two": [("ai-toolkit", 0.75), ("kohya", -0.5)], "dora-first": [("diffusers-dora", 0.8), ("ai-toolkit", 0.6)],
           "dora-last": [("kohya-fused", 0.5), ("diffusers-bias", 0.7), ("diffusers-dora", 1.2)],
           "doras": [("diffusers-dora", 0.8), ("ai-toolkit-alpha", 0.3), ("peft-dora", -0.5)]}


def make_trained(maker: Maker, folder: Path, options) -> dict[str, dict]:
    """Files as the trainers save them, from their own modules; each case keeps the modules."""
    lokr_module, dora_module = trainer_modules.ai_toolkit(options.ai_toolkit)
    lycoris = trainer_modules.lycoris(options.lycoris)
    cases = {}

    def add(name, cls, names, key, metadata, network=None, gain=0.3, **settings):
        if network is not None:
            settings |= dict(network=network, multiplier=1.0)
        modules = [cls(module, maker.modules[module], **settings) for module in names]
        tensors = {}
        for module in modules:
            trainer_modules.randomise(module, maker.generator, gain)
            state = module.custom_state_dict() if network is None else module.state_dict()
            tensors |= {key(module.lora_name, part): value.detach().clone().float() for part, value in state.items() if key(module.lora_name, part)}
        save(folder / f"{name}.safetensors", tensors, metadata)
        cases[name] = {"file": f"{name}.safetensors", "modules": modules, "network": network}

    def plain(name, part):
        return f"diffusion_model.{name}.{part}"

    def renamed(name, part):
        return None if part == "alpha" else plain(name, part.replace("lora_down", "lora_A").replace("lora_up", "lora_B"))

    def flat(name, part):
        return f"lycoris_{name.replace('.', '_')}.{part}"

    network = trainer_modules.Network(1.0)
    add("lokr", lokr_module, BLOCK, plain, header("lokr", 500), network, lora_dim=10**9, alpha=10**9, factor=8)
    add("lokr-low-rank", lokr_module, BLOCK, plain, header("lokr", 500), network, lora_dim=2, alpha=2, factor=4)
    add("dora", dora_module, BLOCK, renamed, header("dora", 500), network, lora_dim=4, alpha=4)
    plain_header = {"format": "pt"}
    add("lycoris-loha", lycoris["loha"].LohaModule, BLOCK + REFINERS, flat, plain_header, gain=0.4, lora_dim=3, alpha=2)
    add("lycoris-lokr", lycoris["lokr"].LokrModule, BLOCK, flat, plain_header, gain=0.5, lora_dim=1, alpha=3, factor=4, decompose_both=True)
    add("lycoris-dora", lycoris["locon"].LoConModule, BLOCK, flat, plain_header, gain=0.2, lora_dim=4, alpha=2, weight_decompose=True)
    add("lycoris-lokr-dora", lycoris["lokr"].LokrModule, BLOCK[:5], flat, plain_header, lora_dim=2, alpha=1, factor=4, weight_decompose=True)
    # A fused module's factors, which no third of its rows falls on: one matrix, cut into q, k and v.
    w1, w2 = maker.rand(4, 4, gain=0.3), maker.rand(36, 12, gain=0.3)
    fused = {"lokr_w1": w1, "lokr_w2": w2, "alpha": torch.tensor(float("inf"))}
    save(folder / "lokr-fused.safetensors", {plain(QKV, part): value for part, value in fused.items()}, plain_header)
    cases["lokr-fused"] = {"file": "lokr-fused.safetensors", "delta": dict(zip(ATTENTION, torch.kron(w1, w2).chunk(3)))}
    return cases


@contextlib.contextmanager
def acting(pipe, folder: Path, case: dict, multiplier: float):
    """The case's LoRA in the pipeline, by the reference that can."""
    if "delta" in case:
        weights = {module: pipe.transformer.get_submodule(module).weight for module in case["delta"]}
        before = {module: weight.detach().clone() for module, weight in weights.items()}
        for module, weight in weights.items():
            weight.data += multiplier * case["delta"][module]
        yield
        for module, weight in weights.items():
            weight.data.copy_(before[module])
    elif "modules" in case and multiplier == 0:
        # LyCORIS leaves its delta at 0; Retake turns it off, as ai-toolkit does.
        yield
    elif "modules" in case:
        for module in case["modules"]:
            module.multiplier = multiplier
        if case["network"] is not None:
            case["network"].set(multiplier)
        with trainer_modules.applied(case["modules"]):
            yield
    else:
        load(pipe, folder, case, "golden")
        pipe.set_adapters(["golden"], [multiplier])
        yield
        pipe.unload_lora_weights()


def run_several(pipe, folder: Path, cases: dict, parts: list[tuple[str, float]]) -> dict[str, torch.Tensor]:
    for name, _ in parts:
        load(pipe, folder, cases[name], name)
    pipe.set_adapters([name for name, _ in parts], [multiplier for _, multiplier in parts])
    try:
        return trace.run(pipe, **REQUEST)
    finally:
        pipe.unload_lora_weights()


def keep(result: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The last latents, and the picture."""
    last = max(key for key in result if key.startswith("latents."))
    return {f"{name}.latents": result[last].clone(), f"{name}.image": result["image"].half()}


def write(folder: Path, options) -> None:
    """`files/`, `results.safetensors` and `cases.json` in a folder."""
    files = folder / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    pipe = trace.load(TINY / "store", "zimage_turbo", "f32")
    with torch.no_grad():
        cases = make_files(Maker(pipe, options.seed), pipe, files)
        cases |= make_trained(Maker(pipe, options.seed + 1), files, options)
        results = keep(trace.run(pipe, **REQUEST), "none")
        for name, case in cases.items():
            for multiplier in MULTIPLIERS:
                with acting(pipe, files, case, multiplier):
                    result = trace.run(pipe, **REQUEST)
                results |= keep(result, f"{name}@{multiplier:g}")
            moved = (results[f"{name}@1.latents"] - results["none.latents"]).abs().max().item()
            print(f"{name:20} moves the latents by {moved:.3g}", flush=True)
            if not 0.01 < moved < 100:
                raise SystemExit(f"{name} shows nothing, or too much")
        for name, parts in SEVERAL.items():
            results |= keep(run_several(pipe, files, cases, parts), f"several:{name}")
    trace.write(str(folder / "results.safetensors"), results, REQUEST)
    table = {"request": REQUEST, "multipliers": MULTIPLIERS, "files": {name: case["file"] for name, case in cases.items()}, "several": SEVERAL}
    (folder / "cases.json").write_text(json.dumps(table, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ai-toolkit", type=Path, required=True, help="checkout of ostris/ai-toolkit")
    parser.add_argument("--lycoris", type=Path, required=True, help="checkout of KohakuBlueleaf/LyCORIS")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    write(options.out, options)


if __name__ == "__main__":
    main()
