"""Runs the reference (diffusers' own ZImagePipeline) on a store and writes every stage to a safetensors file.

  $HEAD reference/trace.py --weights STORE --prompt "a cat" --steps 4 --width 64 --height 96 --out t.safetensors

The venv decides the generation: diffusers 0.38 (PIN) or a later one (HEAD). The loop is not repeated
here: the pipeline's own calls are watched. Names written:

  input_ids [L], negative_input_ids [M]                    int64, padding removed
  prompt_embeds [L, cap], negative_prompt_embeds [M, cap]  negatives only when guidance runs
  sigmas [N+1], timesteps [N], noise [1, 16, h, w]         the whole schedule, PIN's dt = 0 step included
  noise_pred.K, latents.K [1, 16, h, w]                    given to and got from scheduler.step, useful steps only
  image [3, H, W]                                          in [0, 1], before rounding to 8 bits
"""

import argparse
import json
import sys
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoint_weights import save

FOLDERS = {"zimage_turbo": "Tongyi-MAI/Z-Image-Turbo", "zimage": "Tongyi-MAI/Z-Image", "zimage_deturbo": "Tongyi-MAI/Z-Image-Turbo"}
DETURBO = "ostris/Z-Image-De-Turbo"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "diffusers", "transformers", "tokenizers", "peft", "numpy")}


def load(weights: Path, model: str, dtype: str) -> ZImagePipeline:
    """The pipeline as the reference server builds it, on the CPU."""
    parts = {}
    if model == "zimage_deturbo":
        parts["transformer"] = ZImageTransformer2DModel.from_pretrained(weights / DETURBO, subfolder="transformer", torch_dtype=DTYPES[dtype])
    pipe = ZImagePipeline.from_pretrained(weights / FOLDERS[model], torch_dtype=DTYPES[dtype], **parts)
    if model != "zimage_turbo":
        pipe.scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def loras(pipe: ZImagePipeline, files: list[tuple[str, float]]):
    """Adapters on, unmerged, each at its multiplier; off again afterwards.

    diffusers before 0.39 gives every module of a mixed-rank file the first module's alpha, so a scale of
    r_first / r_module. ai-toolkit means alpha = rank everywhere: we set it so. (An alpha in the file is
    folded into its matrices by the loader, so this holds for those too.)
    """
    if not files:
        yield
        return
    names = [f"lora{i}" for i in range(len(files))]
    for name, (file, _) in zip(names, files):
        with safe_open(file, "pt") as handle:
            own_config = "lora_adapter_metadata" in (handle.metadata() or {})
        pipe.load_lora_weights(load_file(file), adapter_name=name)
        modules = [m for m in pipe.transformer.modules() if name in getattr(m, "lora_A", {})]
        pairs = sum(".lora_B." in key or ".lora_up." in key for key in load_file(file))
        if len(modules) != pairs:
            raise SystemExit(f"{file}: {pairs} pairs in the file, {len(modules)} modules loaded")
        if own_config:
            continue
        for module in modules:
            module.lora_alpha[name] = module.r[name]
    pipe.set_adapters(names, [multiplier for _, multiplier in files])
    try:
        yield
    finally:
        pipe.unload_lora_weights()


@contextmanager
def watched(owner, name: str, seen):
    """Calls `seen(result, args, kwargs)` after each call of `owner.name`."""
    inner = getattr(owner, name)

    def outer(*args, **kwargs):
        result = inner(*args, **kwargs)
        seen(result, args, kwargs)
        return result

    setattr(owner, name, outer)
    try:
        yield
    finally:
        delattr(owner, name)


@torch.no_grad()
def run(pipe: ZImagePipeline, *, prompt: str, neg: str = "", seed: int = 42, steps: int = 8, guidance: float = 0.0, width: int = 1024,
        height: int = 1024, lora: list[tuple[str, float]] = ()) -> dict[str, torch.Tensor]:
    """One picture; returns the trace's tensors."""
    out: dict[str, torch.Tensor] = {}
    ids: list[torch.Tensor] = []

    def on_ids(_module, _args, kwargs):
        ids.append(kwargs["input_ids"][0][kwargs["attention_mask"][0].bool()].clone())

    def on_embeds(result, _args, _kwargs):
        out["input_ids"], out["prompt_embeds"] = ids[0], result[0][0].float().clone()
        if result[1]:
            out["negative_input_ids"], out["negative_prompt_embeds"] = ids[1], result[1][0].float().clone()

    def on_step(result, args, _kwargs):
        k = int(pipe.scheduler.step_index) - 1
        if pipe.scheduler.sigmas[k + 1] != pipe.scheduler.sigmas[k]:
            out[f"noise_pred.{k}"], out[f"latents.{k}"] = args[0].clone(), result[0].clone()

    hook = pipe.text_encoder.register_forward_pre_hook(on_ids, with_kwargs=True)
    try:
        with (loras(pipe, list(lora)), watched(pipe, "encode_prompt", on_embeds), watched(pipe.scheduler, "step", on_step),
              watched(pipe, "prepare_latents", lambda result, *_: out.update(noise=result.clone()))):
            image = pipe(prompt, negative_prompt=neg, height=height, width=width, num_inference_steps=steps, guidance_scale=guidance,
                         generator=torch.Generator("cpu").manual_seed(seed), output_type="pt").images[0]
    finally:
        hook.remove()
    out["image"] = image.float()
    out["sigmas"], out["timesteps"] = pipe.scheduler.sigmas.clone(), pipe.scheduler.timesteps.clone()
    return out


def write(path: str, tensors: dict[str, torch.Tensor], about: dict) -> None:
    metadata = {"reference": json.dumps(versions()), "request": json.dumps(about, ensure_ascii=True)}
    save(path, dict(sorted(tensors.items())), metadata)


def lora_argument(text: str) -> tuple[str, float]:
    file, _, multiplier = text.rpartition("=")
    return (file, float(multiplier)) if file else (text, 1.0)


def serve() -> None:
    """One JSON request a line on stdin, one JSON answer a line on stdout; the last pipeline is kept."""
    pipe, key = None, None
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        try:
            wanted = (request["weights"], request["model"], request["dtype"])
            if wanted != key:
                pipe, key = load(Path(wanted[0]), *wanted[1:]), wanted
            write(request["out"], run(pipe, **request["run"]), request["run"])
            answer = {"ok": True}
        except Exception as error:  # reported to the caller, who shows it in the table
            pipe = key = None
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="the store: the folder that holds Tongyi-MAI/ and ostris/")
    parser.add_argument("--model", choices=list(FOLDERS), default="zimage_turbo")
    parser.add_argument("--lora", action="append", type=lora_argument, default=[], metavar="FILE=MULT")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--neg", default="")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--dtype", choices=list(DTYPES), default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", help="the safetensors file to write")
    parser.add_argument("--serve", action="store_true", help="read requests from stdin instead (for sweep.py)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.serve:
        serve()
        return
    if not args.weights or not args.out:
        parser.error("--weights and --out are needed")
    about = {name: getattr(args, name) for name in ("prompt", "neg", "seed", "steps", "guidance", "width", "height", "lora")}
    tensors = run(load(args.weights, args.model, args.dtype), **about)
    about["lora"] = [(Path(file).name, multiplier) for file, multiplier in args.lora]
    write(args.out, tensors, about | {"model": args.model, "dtype": args.dtype})
    print(" ".join(f"{name} {number}" for name, number in versions().items()))
    for name, value in sorted(tensors.items()):
        print(f"{name:24} {list(value.shape)} {value.dtype} max {value.abs().max().item() if value.numel() else 0:.6g}")


if __name__ == "__main__":
    main()
