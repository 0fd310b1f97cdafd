"""Random LoRA files in every format that diffusers or PEFT can run, and how each is loaded there. Called by `golden_loras.py`."""

import json
import math
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file

from checkpoint_weights import save
from make_lora import header

ATTENTION = ["layers.0.attention.to_q", "layers.0.attention.to_k", "layers.0.attention.to_v", "layers.0.attention.to_out.0"]
BLOCK = [*ATTENTION, "layers.1.feed_forward.w1", "layers.1.feed_forward.w2", "layers.1.feed_forward.w3", "layers.1.adaLN_modulation.0"]
REFINERS = ["noise_refiner.0.attention.to_k", "context_refiner.0.feed_forward.w2", "noise_refiner.0.adaLN_modulation.0"]
OUTER = ["all_x_embedder.2-1", "cap_embedder.1", "t_embedder.mlp.0", "t_embedder.mlp.2", "all_final_layer.2-1.linear",
         "all_final_layer.2-1.adaLN_modulation.1"]
QKV, OUT = "layers.0.attention.qkv", "layers.0.attention.out"


class Maker:
    """Makes random matrices for the modules of one transformer."""

    def __init__(self, pipe, seed: int):
        self.modules = {name: module for name, module in pipe.transformer.named_modules() if isinstance(module, torch.nn.Linear)}
        self.generator = torch.Generator().manual_seed(seed)

    def size(self, name: str) -> tuple[int, int]:
        """(out, in) of a module, a fused one included."""
        if name.endswith(".qkv"):
            out, width = self.size(name[:-3] + "to_q")
            return 3 * out, width
        module = self.modules[name.replace("attention.out", "attention.to_out.0")]
        return module.out_features, module.in_features

    def rand(self, *shape: int, gain: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator) * gain

    def pair(self, name: str, rank: int, gain: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
        out, width = self.size(name)
        return self.rand(rank, width, gain=1 / math.sqrt(width)), self.rand(out, rank, gain=gain / math.sqrt(rank))

    def magnitude(self, length: torch.Tensor) -> torch.Tensor:
        return length * (1 + 0.3 * torch.rand(length.shape, generator=self.generator))


def dotted(prefix: str, a: str = "lora_A.weight", b: str = "lora_B.weight"):
    ends = {"A": a, "B": b, "alpha": "alpha"}
    return lambda name, part: f"{prefix}{name}.{ends[part]}"


def flat(prefix: str):
    inner = dotted("", "lora_down.weight", "lora_up.weight")
    return lambda name, part: prefix + inner(name.replace(".", "_"), part)


def low_rank(maker: Maker, names: list[str], ranks: list[int], key, dtype=torch.float32, alpha=None) -> dict[str, torch.Tensor]:
    """`key(name, part)` names the tensor of part A, B or alpha."""
    tensors = {}
    for i, name in enumerate(names):
        rank = ranks[i % len(ranks)]
        a, b = maker.pair(name, rank)
        tensors[key(name, "A")], tensors[key(name, "B")] = a.to(dtype), b.to(dtype)
        if alpha is not None:
            tensors[key(name, "alpha")] = torch.tensor(float(alpha(i, rank)), dtype=dtype)
    return tensors


def split_fused(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What diffusers has no rule for, by hand: q, k and v share A, and have a third of B's rows each; out is to_out.0."""
    out = {}
    for key, value in tensors.items():
        if ".attention.qkv." in key:
            for i, part in enumerate("qkv"):
                out[key.replace(".qkv.", f".to_{part}.")] = value if "lora_A" in key else value.chunk(3)[i].clone()
        else:
            out[key.replace(".attention.out.", ".attention.to_out.0.").replace(".x_embedder.", ".all_x_embedder.2-1.")] = value
    return out


def make_files(maker: Maker, pipe, folder: Path) -> dict[str, dict]:
    """Writes the files; name -> how the reference runs it."""
    cases: dict[str, dict] = {}

    def add(name: str, tensors: dict[str, torch.Tensor], metadata: dict | None = None, **how) -> None:
        save(folder / f"{name}.safetensors", tensors, metadata or {"format": "pt"})
        cases[name] = {"file": f"{name}.safetensors", **how}

    trained = header("golden", 500)
    add("ai-toolkit", low_rank(maker, BLOCK, [4, 1, 8], dotted("diffusion_model."), torch.float16), trained)
    add("ai-toolkit-alpha", low_rank(maker, BLOCK + OUTER, [3, 5], dotted("diffusion_model."), torch.bfloat16, lambda i, rank: rank / 2 + i / 8), trained)
    add("diffusers", low_rank(maker, BLOCK + REFINERS, [4, 2], dotted("transformer.")))
    config = {"r": 4, "lora_alpha": 2, "alpha_pattern": {"layers.0.attention.to_k": 12}, "target_modules": ATTENTION, "use_rslora": True}
    add("diffusers-config", low_rank(maker, ATTENTION, [4], dotted("transformer.")),
        {"format": "pt", "lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in config.items()})})
    biased = low_rank(maker, BLOCK, [4], dotted("transformer."))
    dora = low_rank(maker, BLOCK + ["cap_embedder.1"], [4], dotted("transformer."))
    biased |= {f"transformer.{name}.lora_B.bias": maker.rand(maker.size(name)[0], gain=0.2) for name in BLOCK}
    dora |= {f"transformer.{name}.lora_magnitude_vector": maker.magnitude(maker.modules[name].weight.norm(dim=1)) for name in BLOCK + ["cap_embedder.1"]}
    add("diffusers-bias", biased)
    add("diffusers-dora", dora)
    add("kohya", low_rank(maker, BLOCK + REFINERS + OUTER[:3], [4, 2], flat("lora_unet_"), torch.float16, lambda i, rank: 1 + i % 3),
        {"ss_network_dim": "4", "ss_network_alpha": "2", "ss_base_model_version": "zimage"})
    add("kohya-fused", low_rank(maker, [QKV, OUT, "layers.1.feed_forward.w1"], [4], flat("lora_unet_"), alpha=lambda i, rank: 6))
    comfy = low_rank(maker, [QKV, OUT, "layers.1.adaLN_modulation.0", "all_x_embedder.2-1"], [4], dotted("diffusion_model."))
    add("comfyui", {key.replace(".all_x_embedder.2-1.", ".x_embedder."): value for key, value in comfy.items()}, convert=True)
    add("diffsynth", low_rank(maker, BLOCK, [4], dotted("", "lora_A.default.weight", "lora_B.default.weight")))
    add("diffsynth-prefix", low_rank(maker, BLOCK, [4], dotted("pipe.dit.", "lora_A.default.weight", "lora_B.default.weight")), strip="pipe.dit.")
    dots = dotted("diffusion_model.", "lora.down.weight", "lora.up.weight")
    add("dots", low_rank(maker, ATTENTION, [4], dots) | low_rank(maker, [QKV], [4], dots))
    return cases | make_peft(maker, pipe, folder)


def make_peft(maker: Maker, pipe, folder: Path) -> dict[str, dict]:
    """Folders as PEFT saves them."""
    cases = {}
    configs = {"peft": dict(r=4, lora_alpha=6, rank_pattern={"layers.0.attention.to_q": 2}, alpha_pattern={"to_k": 3}),
               "peft-dora": dict(r=3, lora_alpha=3, use_dora=True, use_rslora=True)}
    for name, options in configs.items():
        config = LoraConfig(target_modules=BLOCK, init_lora_weights=False, **options)
        model = inject_adapter_in_model(config, pipe.transformer, adapter_name="default")
        for key, parameter in model.named_parameters():
            if ".lora_A." in key or ".lora_B." in key:
                parameter.data.copy_(maker.rand(*parameter.shape, gain=0.15))
            elif "lora_magnitude_vector" in key:
                # Not from what PEFT made: that is of its own random matrices.
                length = maker.modules[key.split(".lora_magnitude_vector")[0]].weight.norm(dim=1)
                parameter.data.copy_(maker.magnitude(length))
        state = get_peft_model_state_dict(model, adapter_name="default")
        (folder / name).mkdir(exist_ok=True)
        save(folder / name / "adapter_model.safetensors", {f"base_model.model.{key}": value.clone() for key, value in state.items()}, {"format": "pt"})
        config.save_pretrained(str(folder / name))
        cases[name] = {"file": name, "peft": True}
        take_out(pipe)
    return cases


def take_out(pipe) -> None:
    """The transformer as it was before an adapter was injected."""
    for name, module in list(pipe.transformer.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, child = name.rpartition(".")
            setattr(pipe.transformer.get_submodule(parent), child, module.get_base_layer())
    pipe.transformer.__dict__.pop("peft_config", None)


def load(pipe, folder: Path, case: dict, name: str) -> None:
    """Loads a case's file under an adapter's name."""
    if case.get("peft"):
        # As PEFT's own folder: its configuration goes with its weights.
        state = load_file(folder / case["file"] / "adapter_model.safetensors")
        config = LoraConfig.from_pretrained(str(folder / case["file"])).to_dict()
        pipe.load_lora_into_transformer({key.replace("base_model.model.", "transformer."): value for key, value in state.items()},
                                        transformer=pipe.transformer, adapter_name=name, _pipeline=pipe,
                                        metadata={f"transformer.{key}": value for key, value in config.items()})
    elif case.get("convert"):
        pipe.load_lora_weights(split_fused(load_file(folder / case["file"])), adapter_name=name)
    elif case.get("strip"):
        pipe.load_lora_weights({key.removeprefix(case["strip"]): value for key, value in load_file(folder / case["file"]).items()}, adapter_name=name)
    else:
        pipe.load_lora_weights(str(folder), weight_name=case["file"], adapter_name=name)
    if not any(name in getattr(module, "scaling", {}) for module in pipe.transformer.modules()):
        raise SystemExit(f"{case['file']}: the reference loaded nothing")
