"""Goldens of every LoRA format: small random files, and the pictures and latents that the reference makes with them.

  $HEAD reference/golden_loras.py OUT --ai-toolkit CHECKOUT --lycoris CHECKOUT [--seed 1]

Uses the tiny store of `test/golden`. What diffusers loads, diffusers runs; LoKr, DoRA and whole changes (.diff) of ai-toolkit, and
LoHa, LoKr and DoRA of LyCORIS are run by those trainers' own modules (`trainer_modules.py`). Every file runs at multipliers -1, 0, 0.5, 1 and 2.
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
from lora_files import ATTENTION, BLOCK, OUTER, QKV, REFINERS, Maker, load, make_files
from make_lora import header

TINY = Path(__file__).resolve().parent.parent / "test" / "golden" / "tiny"
MULTIPLIERS = [-1.0, 0.0, 0.5, 1.0, 2.0]
REQUEST = dict(prompt="photo of ohwx", neg="blurry", seed=3, steps=2, guidance=1.5, width=32, height=64)
SEVERAL = {"two": [("ai-toolkit", 0.75), ("kohya", -0.5)], "dora-first": [("diffusers-dora", 0.8), ("ai-toolkit", 0.6)],
           "dora-last": [("kohya-fused", 0.5), ("diffusers-bias", 0.7), ("diffusers-dora", 1.2)],
           "full-first": [("full-rank", 0.5), ("diffusers-dora", 0.8)], "full-twice": [("full", 0.5), ("full-rank", -0.25), ("ai-toolkit", 0.75)],
           "doras": [("diffusers-dora", 0.8), ("ai-toolkit-alpha", 0.3), ("peft-dora", -0.5)]}


def make_trained(maker: Maker, folder: Path, options) -> dict[str, dict]:
    """Files as the trainers save them, from their own modules; each case keeps the modules."""
    trainer = trainer_modules.ai_toolkit(options.ai_toolkit)
    lokr_module, dora_module = trainer["lokr"], trainer["dora"]
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
    cases["lokr-fused"] = {"file": "lokr-fused.safetensors", "delta": {f"{name}.weight": part for name, part in zip(ATTENTION, torch.kron(w1, w2).chunk(3))}}
    return cases


NORMS = ["layers.0.attention_norm1", "layers.1.ffn_norm2", "layers.0.attention.norm_q", "layers.1.attention.norm_k", "noise_refiner.0.attention_norm2",
         "context_refiner.0.ffn_norm1", "context_refiner.0.attention.norm_q", "cap_embedder.0"]


def make_full(maker: Maker, pipe, folder: Path, options) -> dict[str, dict]:
    """Whole changes: of ai-toolkit's `full_if_contains` and `fullrank`, a bias of its LoRA, and what ComfyUI's trainer writes."""
    trainer = trainer_modules.ai_toolkit(options.ai_toolkit)
    cases = {}

    def add(name, modules, network, dtype=torch.float32):
        tensors = {}
        for module in modules:
            # A whole change of a matrix moves more than the factors of one.
            matrix = getattr(module, "diff", torch.empty(0)).dim() == 2
            trainer_modules.randomise(module, maker.generator, 0.03 if matrix or network.network_type == "fullrank" else 0.25)
            for part, value in module.state_dict().items():
                value.copy_(value.to(dtype).float())
                key = f"diffusion_model.{module.lora_name}.{part.replace('lora_down', 'lora_A').replace('lora_up', 'lora_B')}"
                # The trainer saves no alpha: it is the rank.
                if part != "alpha":
                    tensors[key] = value.detach().to(dtype)
        save(folder / f"{name}.safetensors", tensors, header(name, 500))
        cases[name] = {"file": f"{name}.safetensors", "modules": modules, "network": network}

    def module(kind, name, network, **settings):
        return trainer[kind](name, pipe.transformer.get_submodule(name), multiplier=1.0, network=network, **settings)

    network = trainer_modules.Network(1.0)
    whole = [module("full", name, network) for name in NORMS + OUTER + ["layers.1.feed_forward.w2", "layers.1.adaLN_modulation.0"]]
    add("full", whole + [module("lora", name, network, lora_dim=4, alpha=4) for name in ATTENTION], network, torch.bfloat16)
    network = trainer_modules.Network(1.0, "fullrank")
    add("full-rank", [module("lora", name, network, lora_dim=4, alpha=4) for name in BLOCK], network)
    network = trainer_modules.Network(1.0)
    biased = ["layers.0.adaLN_modulation.0", "layers.1.adaLN_modulation.0", "cap_embedder.1"]
    add("lora-bias", [module("lora", name, network, lora_dim=4, alpha=4, use_bias=True) for name in biased + ATTENTION], network, torch.float16)

    tensors, delta = {}, {}
    for name in ["layers.0.attention.to_out.0", "cap_embedder.1", "layers.1.adaLN_modulation.0"]:
        a, b = maker.pair(name, 4)
        key = f"diffusion_model.{name.replace('to_out.0', 'out')}"
        tensors |= {f"{key}.lora_down.weight": a, f"{key}.lora_up.weight": b, f"{key}.alpha": torch.tensor(2.0)}
        delta[f"{name}.weight"] = b @ a / 2
    parameters = dict(pipe.transformer.named_parameters())
    for name in [*(f"{norm}.weight" for norm in NORMS), *(f"{outer}.bias" for outer in OUTER), "layers.1.adaLN_modulation.0.bias"]:
        delta[name] = maker.rand(*parameters[name].shape, gain=0.2)
        original = name.replace("all_x_embedder.2-1", "x_embedder").replace("all_final_layer.2-1", "final_layer")
        original = original.replace(".norm_q.", ".q_norm.").replace(".norm_k.", ".k_norm.")
        tensors[f"diffusion_model.{original}".replace(".weight", ".diff").replace(".bias", ".diff_b")] = delta[name]
    tensors["diffusion_model.norm_final.diff"] = maker.rand(*parameters["layers.0.attention_norm1.weight"].shape)
    save(folder / "comfyui-trained.safetensors", tensors, {"format": "pt"})
    cases["comfyui-trained"] = {"file": "comfyui-trained.safetensors", "delta": delta}
    return cases


@contextlib.contextmanager
def acting(pipe, folder: Path, case: dict, multiplier: float):
    """The case's LoRA in the pipeline, by the reference that can."""
    if "delta" in case:
        weights = {name: pipe.transformer.get_parameter(name) for name in case["delta"]}
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        for name, weight in weights.items():
            weight.data += multiplier * case["delta"][name]
        yield
        for name, weight in weights.items():
            weight.data.copy_(before[name])
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
    trained = [(name, multiplier) for name, multiplier in parts if "modules" in cases[name]]
    others = [(name, multiplier) for name, multiplier in parts if "modules" not in cases[name]]
    with contextlib.ExitStack() as stack:
        for name, multiplier in trained:
            stack.enter_context(acting(pipe, folder, cases[name], multiplier))
        for name, _ in others:
            load(pipe, folder, cases[name], name)
        pipe.set_adapters([name for name, _ in others], [multiplier for _, multiplier in others])
        try:
            return trace.run(pipe, **REQUEST)
        finally:
            pipe.unload_lora_weights()


def keep(result: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The last latents, and the picture."""
    last = max(key for key in result if key.startswith("latents."))
    return {f"{name}.latents": result[last].clone(), f"{name}.image": result["image"].half()}


def run_all(folder: Path, options, other: Path | None = None) -> tuple[dict[str, dict], dict[str, torch.Tensor]]:
    """Writes `files/` into a folder and runs each. With another store, the files are made for the tiny one, and run on that."""
    files = folder / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    pipe = trace.load(TINY / "store", "zimage_turbo", "f32")
    with torch.no_grad():
        cases = make_files(Maker(pipe, options.seed), pipe, files)
        cases |= make_trained(Maker(pipe, options.seed + 1), files, options)
        cases |= make_full(Maker(pipe, options.seed + 2), pipe, files, options)
        if other is not None:
            theirs = trace.load(other, "zimage_turbo", "f32")
            for part in ("text_encoder", "transformer", "vae"):
                getattr(pipe, part).load_state_dict(getattr(theirs, part).state_dict())
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
    return cases, results


def write(folder: Path, options) -> None:
    """`files/`, `results.safetensors` and `cases.json` in a folder."""
    cases, results = run_all(folder, options)
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
