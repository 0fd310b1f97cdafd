"""Goldens that need no checkpoint: noise, schedules, token ids. Called by `goldens.py`."""

import json
from pathlib import Path

import numpy as np
import torch

from golden_texts import PROMPTS, lines, mark_lines

SEEDS = [0, 1, 42, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**53 + 1, 2**63 - 1]
NUMELS = [1, 2, 3, 7, 8, 15, 16, 17, 20, 31, 32, 33, 1024]
LARGE = 16 * 128 * 128  # latents of a 1024 x 1024 picture
WHOLE = 33  # up to here every value is written


def shortest(values) -> list[float]:
    """f32 values as the shortest decimals that read back as the same f32."""
    return [float(str(v)) for v in np.asarray(values, dtype=np.float32).ravel()]


def noise() -> dict:
    """`diffusers.utils.torch_utils.randn_tensor` with a CPU generator, as the pipeline draws it."""
    from diffusers.utils.torch_utils import randn_tensor

    cases = []
    for seed in SEEDS:
        for numel in NUMELS + ([LARGE] if seed in (0, 42) else []):
            generator = torch.Generator("cpu").manual_seed(seed)
            x = randn_tensor((1, numel), generator=generator, device=torch.device("cpu"), dtype=torch.float32).flatten()
            case = {"seed": str(seed), "numel": numel}
            if numel <= WHOLE:
                case["values"] = shortest(x)
            else:
                case |= {"first": shortest(x[:16]), "last": shortest(x[-16:]), "mean": x.double().mean().item(), "std": x.double().std().item()}
            if numel == LARGE:  # where rounding shows most
                largest = x.abs().argsort(descending=True)[:64]
                case["extremes"] = [[int(i), shortest(x[i])[0]] for i in largest]
            cases.append(case)
    return {"note": "torch.randn, CPU, f32, contiguous; std is the sample's (n - 1)", "cpu": torch.backends.cpu.get_cpu_capability(), "cases": cases}


class ZeroTransformer(torch.nn.Module):
    """Stands in for the transformer so that the real pipeline runs its schedule for nothing."""

    in_channels = 16
    dtype, device = torch.float32, torch.device("cpu")

    def forward(self, x, t, cap_feats, return_dict=False, **_):
        return ([torch.zeros_like(item) for item in x],)


def schedules() -> list[dict]:
    """`scheduler.sigmas` and `.timesteps` after a real `ZImagePipeline.__call__`."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline

    vae = AutoencoderKL(block_out_channels=(4,) * 4, norm_num_groups=2, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    cases = []
    for shift in (3.0, 6.0):
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift, use_dynamic_shifting=False)
        pipe = ZImagePipeline(scheduler, vae, ZeroTransformer(), None, ZeroTransformer())
        pipe.set_progress_bar_config(disable=True)
        for n in [*range(1, 31), 50]:
            pipe(prompt_embeds=[torch.zeros(8, 4)], guidance_scale=0.0, num_inference_steps=n, height=32, width=32, output_type="latent")
            cases.append({"shift": shift, "steps": n, "sigmas": shortest(scheduler.sigmas), "timesteps": shortest(scheduler.timesteps)})
    return cases


def tokens(folder: Path) -> dict:
    """Raw ids by `tokenizers`, templated ids as `ZImagePipeline._encode_prompt` makes them."""
    import tokenizers
    from transformers import AutoTokenizer

    raw = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    cases, marks = ([{"text": text, "ids": raw.encode(text, add_special_tokens=False).ids} for text in texts] for texts in (lines(), mark_lines()))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wrong = [c["text"] for c in cases if tokenizer(c["text"]).input_ids != c["ids"]]
    if wrong:
        print(f"transformers' {type(tokenizer).__name__} differs from tokenizer.json on {len(wrong)} lines: {wrong[:5]!r}")
    templated = []
    for prompt in PROMPTS:
        text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True)
        batch = tokenizer([text], padding="max_length", max_length=512, truncation=True, return_tensors="pt")
        ids = batch.input_ids[0][batch.attention_mask[0].bool()].tolist()
        templated.append({"prompt": prompt, "ids": ids})
    return {"raw": cases, "marks": marks, "templated": templated}


def write_json(path: Path, value) -> None:
    """JSON with one case per line: readable diffs, no line per number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    out = ["{"]
    items = list(value.items())
    for i, (key, item) in enumerate(items):
        comma = "," if i + 1 < len(items) else ""
        if isinstance(item, list):
            rows = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in item)
            out.append(f"{json.dumps(key)}: [\n{rows}\n]{comma}")
        else:
            out.append(f"{json.dumps(key)}: {json.dumps(item)}{comma}")
    out.append("}")
    path.write_text("\n".join(out) + "\n", encoding="ascii")
