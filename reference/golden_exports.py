"""Goldens of what `retake export` writes: its Python scripts run as they are, its ComfyUI graphs by ComfyUI's
own functions around diffusers' networks. Called by `goldens.py`; needs `bin/retake` and the demonstration's weights.
"""

import json
import math
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import ZImagePipeline, ZImageTransformer2DModel
from safetensors.torch import save_file

from golden_tools import take

REPOSITORY = Path(__file__).resolve().parent.parent
WEIGHTS = REPOSITORY / "demo" / "weights"
# The files that a graph names, in the hub's repositories.
TRANSFORMERS = {
    "z_image_bf16.safetensors": "Tongyi-MAI/Z-Image",
    "z_image_turbo_bf16.safetensors": "Tongyi-MAI/Z-Image-Turbo",
    "z_image_de_turbo_v1_bf16.safetensors": "ostris/Z-Image-De-Turbo",
}


def export(flags: list[str], target: str) -> str:
    command = [str(REPOSITORY / "bin" / "retake"), "export", *flags, "--to", target, "--weights", "demo"]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def run_script(script: Path) -> torch.Tensor:
    """Runs a script as its reader does, and keeps the latents that its pipeline decodes."""
    kept = []
    call = ZImagePipeline.__call__

    def watched(self, *args, **kwargs):
        def keep(_, step, timestep, tensors):
            kept.append(tensors["latents"])
            return {}

        return call(self, *args, **kwargs, callback_on_step_end=keep)

    ZImagePipeline.__call__ = watched
    argv = sys.argv
    try:
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "picture.png")
            sys.argv = [str(script), "--weights", str(WEIGHTS), "--device", "cpu", "--out", out]
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = argv
        ZImagePipeline.__call__ = call
    return kept[-1]


class Graph:
    """What a graph's nodes do, by ComfyUI's own functions; a node that is not here is an error."""

    def __init__(self, nodes: dict, comfyui: Path):
        self.nodes = nodes
        text = take(comfyui / "comfy/sd1_clip.py", ["escape_important", "unescape_important"], {})
        self.text = lambda prompt: text["unescape_important"](text["escape_important"](prompt))
        self.noise = take(comfyui / "comfy/sample.py", ["prepare_noise"], {"torch": torch, "np": np})["prepare_noise"]
        names = ["reshape_sigma", "CONST", "time_snr_shift", "ModelSamplingDiscreteFlow"]
        self.sampling = take(comfyui / "comfy/model_sampling.py", names, {"torch": torch})
        names = ["simple_scheduler", "cfg_function"]
        self.samplers = take(comfyui / "comfy/samplers.py", names, {"torch": torch, "math": math})
        utils = type("utils", (), {"append_dims": staticmethod(lambda x, n: x[(...,) + (None,) * (n - x.ndim)])})
        given = {"torch": torch, "utils": utils, "trange": lambda n, disable=None: range(n)}
        self.euler = take(comfyui / "comfy/k_diffusion/sampling.py", ["to_d", "sample_euler"], given)["sample_euler"]

    def node(self, link, *kinds: str) -> dict:
        found = self.nodes[link[0]]
        if found["class_type"] not in kinds:
            raise SystemExit(f"{found['class_type']} where {kinds} should be")
        return found["inputs"]

    def draw(self) -> torch.Tensor:
        (saved,) = [node for node in self.nodes.values() if node["class_type"] == "SaveImage"]
        decoded = self.node(saved["inputs"]["images"], "VAEDecode")
        sampler = self.node(decoded["samples"], "KSampler", "SamplerCustomAdvanced")
        custom = "guider" in sampler
        guider = self.node(sampler["guider"], "CFGGuider") if custom else sampler
        shift = self.node(guider["model"], "ModelSamplingAuraFlow")
        levels = self.sampling["ModelSamplingDiscreteFlow"]()
        levels.set_parameters(shift=shift["shift"], multiplier=1.0)
        if custom:
            written = self.node(sampler["sigmas"], "ManualSigmas")["sigmas"]
            sigmas = torch.tensor([float(level) for level in written.split(",")])
            seed = self.node(sampler["noise"], "RandomNoise")["noise_seed"]
            name = self.node(sampler["sampler"], "KSamplerSelect")["sampler_name"]
        else:
            if (sampler["scheduler"], sampler["denoise"]) != ("simple", 1):
                raise SystemExit("another schedule")
            sigmas, seed, name = self.samplers["simple_scheduler"](levels, sampler["steps"]), sampler["seed"], sampler["sampler_name"]
        if name != "euler":
            raise SystemExit("another sampler")
        pipe = self.pipeline(shift["model"])
        embeds = [self.encode(pipe, guider[side]) for side in ("positive", "negative")]
        size = self.node(sampler["latent_image"], "EmptySD3LatentImage")
        empty = torch.zeros([size["batch_size"], 16, size["height"] // 8, size["width"] // 8])
        const = self.sampling["CONST"]()
        start = const.noise_scaling(sigmas[:1], self.noise(empty, seed), empty)
        cfg = guider["cfg"]

        def velocity(x, sigma, prompt):
            out = pipe.transformer(list(x.unsqueeze(2).unbind(0)), 1 - sigma, [prompt], return_dict=False)[0]
            return -torch.stack(out).squeeze(2)

        def denoised(x, sigma):
            # At 1 the negative prompt is left out: `sampling_function`.
            asked = embeds[:1] if math.isclose(cfg, 1.0) else embeds
            predicted = [const.calculate_denoised(sigma, velocity(x, sigma, prompt), x) for prompt in asked]
            return predicted[0] if len(predicted) == 1 else self.samplers["cfg_function"](None, *predicted, cfg, x, sigma)

        with torch.no_grad():
            return self.euler(denoised, start, sigmas, disable=True)

    def pipeline(self, link) -> ZImagePipeline:
        loras = []
        while self.nodes[link[0]]["class_type"] == "LoraLoaderModelOnly":
            lora = self.node(link, "LoraLoaderModelOnly")
            loras.append((lora["lora_name"], lora["strength_model"]))
            link = lora["model"]
        repository = TRANSFORMERS[self.node(link, "UNETLoader")["unet_name"]]
        transformer = ZImageTransformer2DModel.from_pretrained(WEIGHTS / repository, subfolder="transformer", torch_dtype=torch.float32)
        rest = repository if repository.startswith("Tongyi") else "Tongyi-MAI/Z-Image-Turbo"
        pipe = ZImagePipeline.from_pretrained(WEIGHTS / rest, transformer=transformer, torch_dtype=torch.float32)
        for i, (name, _) in enumerate(loras):
            pipe.load_lora_weights(REPOSITORY / "demo" / "loras", weight_name=name, adapter_name=f"lora_{i}")
        if loras:
            pipe.set_adapters([f"lora_{i}" for i in range(len(loras))], adapter_weights=[strength for _, strength in loras])
        return pipe

    def encode(self, pipe: ZImagePipeline, link) -> torch.Tensor:
        text = self.text(self.node(link, "CLIPTextEncode")["text"])
        return pipe.encode_prompt(text, do_classifier_free_guidance=False)[0][0]


def exports(folder: Path, comfyui: Path) -> list[Path]:
    """Writes each case's script and graph, and the latents that they draw."""
    latents = {}
    written = []
    for case in json.loads((folder / "cases.json").read_text()):
        name = case["name"]
        script = folder / f"{name}.py"
        script.write_text(export(case["flags"], "diffusers"))
        latents[f"{name}.diffusers"] = run_script(script)
        graph = folder / f"{name}.comfyui.json"
        graph.write_text(export(case["flags"], "comfyui"))
        latents[f"{name}.comfyui"] = Graph(json.loads(graph.read_text()), comfyui).draw()
        written += [script, graph]
    path = folder / "latents.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in latents.items()}, path)
    return [*written, path]
