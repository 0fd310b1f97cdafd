"""What ai-toolkit makes of `sample` sections: its own functions, cut out of several commits and run on odd ones.

    python3 reference/trainer_samples.py AI_TOOLKIT.git

Needs nothing but Python: the functions that fill in trigger words, read flags, walk seeds and snap sizes import
nothing that matters. What a pipeline would refuse later (a size that is a text, a seed beyond 64 bits) is marked so.
"""

import __future__

import ast
import contextlib
import io
import json
import os
import platform
import random
import subprocess
import sys
import time
import types
import typing
from pathlib import Path

import manifest

COMMITS = ["4e62c38d", "859635e9", "ef57c107", "6233efe1", "3e6bd874", "479c72ad", "27a03a91"]
REPOSITORY = Path(sys.argv[1])
OUT = manifest.ROOT / "trainer-samples.json"
RANDOM = "random"


def source(commit: str, path: str) -> ast.Module:
    text = subprocess.run(
        ["git", "-C", str(REPOSITORY), "show", f"{commit}:{path}"], check=True, capture_output=True, text=True
    ).stdout
    return ast.parse(text)


def cut(module: ast.Module, names: list[str], scope: dict) -> None:
    """Runs the named classes and functions, methods by `Class.method`, in a scope of their own."""
    for name in names:
        owner, _, method = name.partition(".")
        node = next(n for n in module.body if getattr(n, "name", None) == owner)
        if method:
            node = next(n for n in node.body if getattr(n, "name", None) == method)
        # Annotations name torch; they are not evaluated.
        code = compile(
            ast.Module([node], []), name, "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True
        )
        exec(code, scope)


class Nothing:
    """What is passed on and never looked at."""

    def __getattr__(self, _):
        return None


def load(commit: str) -> dict:
    drawing = types.SimpleNamespace(randint=lambda *_: RANDOM)
    scope = {
        "os": os, "time": time, "random": drawing, "flush": lambda: None, "print_acc": lambda *_: None,
        "ImgExt": "jpg", "ClipVisionAdapter": Nothing, "CustomAdapter": Nothing, "List": typing.List,
        "Optional": typing.Optional, "Image": Nothing, "TF": Nothing,
    }
    cut(source(commit, "toolkit/config_modules.py"), ["SampleItem", "SampleConfig", "GenerateImageConfig"], scope)
    cut(source(commit, "toolkit/prompt_utils.py"), ["inject_trigger_into_prompt"], scope)
    cut(source(commit, "jobs/process/BaseSDTrainProcess.py"), ["BaseSDTrainProcess.sample"], scope)
    cut(source(commit, "extensions_built_in/sd_trainer/SDTrainer.py"), ["SDTrainer.cache_sample_prompts"], scope)
    return scope


class Model:
    """The trainer's model, which is handed texts and pictures to draw."""

    encode_control_in_text_embeddings = False
    sample_prompts_cache = None

    def __init__(self, scope):
        self.scope = scope
        self.drawn = None

    def inject_trigger_into_prompt(self, prompt, trigger=None, to_replace_list=None, add_if_not_present=False):
        return self.scope["inject_trigger_into_prompt"](prompt, trigger, to_replace_list, add_if_not_present)

    def generate_images(self, configs, sampler=None):
        self.drawn = configs

    def encode_prompt(self, prompt, *_, **__):
        return types.SimpleNamespace(to=lambda *_, **__: prompt, text=prompt)


def handed(config) -> dict:
    """What the pipeline gets; raises where it, or torch, would."""
    for value in (config.width, config.height, config.guidance_scale, config.network_multiplier):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(value)
    if isinstance(config.num_inference_steps, bool) or not isinstance(config.num_inference_steps, int):
        raise TypeError(config.num_inference_steps)
    seed = config.seed
    if seed != RANDOM:
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise OverflowError(seed)
        seed = str(seed % 2**64)
    return {
        "prompt": config.prompt, "negativePrompt": text(config.negative_prompt), "width": int(config.width),
        "height": int(config.height), "steps": config.num_inference_steps, "seed": seed,
        "guidanceScale": number(config.guidance_scale), "multiplier": number(config.network_multiplier),
    }


def text(value) -> str:
    """The chat template takes what is no text for an empty one."""
    return value if isinstance(value, str) else ""


def number(value):
    """JSON has no infinities."""
    return float(value) if value == value and abs(value) != float("inf") else repr(float(value))


def run(scope: dict, process: dict, is_first: bool) -> list | None:
    """The pictures of one round; None where the trainer stops with an error."""
    model = Model(scope)
    sample = process["sample"]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            config = scope["SampleConfig"](**sample)
            first = scope["SampleConfig"](**process["first_sample"]) if "first_sample" in process else config
            trainer = types.SimpleNamespace(
                accelerator=types.SimpleNamespace(is_main_process=True), save_root="out", adapter_config=None,
                adapter=None, embedding=None, ema=None, logger=None, sd=model, sample_config=config,
                first_sample_config=first, trigger_word=process.get("trigger_word"),
                post_process_generate_image_config_list=lambda configs: configs, device_torch="cpu",
                train_config=types.SimpleNamespace(disable_sampling=False),
            )
            model.device_torch, model.torch_dtype = "cpu", "float32"
            if process.get("train", {}).get("cache_text_embeddings"):
                scope["cache_sample_prompts"](trainer)
            scope["sample"](trainer, 0, is_first)
            drawn = [handed(one) for one in model.drawn]
        if model.sample_prompts_cache is not None:
            for one, cached in zip(drawn, model.sample_prompts_cache, strict=False):
                one["prompt"], one["negativePrompt"] = cached["conditional"], text(cached["unconditional"])
            if len(drawn) > len(model.sample_prompts_cache):
                raise IndexError
        return drawn
    except Exception:
        return None


PROMPTS = [
    "a fox", "", "  a fox  ", "[trigger] a fox", "[name] a fox", "a [trigger] fox [trigger]", "a fox --w 256 --h 128",
    "a fox --w 256.5", "a fox --w", "a fox --w ", "a fox --w 1_000", "a fox --w ٢٥٦", "a fox --w -5 --h 0", "a fox --h 30",
    "a fox --d 7", "a fox --seed -1", "a fox --d 18446744073709551615", "a fox --d 18446744073709551616", "a fox --d -5",
    "a fox --seed 1e3", "a fox --cfg 4 --l 2.5", "a fox --cfg inf", "a fox --l nan", "a fox --cfg 1e-3", "a fox --cfg .5",
    "a fox --cfg 5.", "a fox --cfg 1_0.5", "a fox --s 3 --steps 9", "a fox --steps 3.0", "a fox --m 0.5",
    "a fox --network_multiplier -0.7 --m 2", "a fox --m '0.5'", "a fox --n a hen", "a fox --n", "a fox --n a -- hen",
    "a fox --n [trigger] hen --w 96", "a red--blue fox", "a fox -- a hen", "a fox ---w 96", "a fox --W 96", "a fox --x 96 --w 80",
    "a fox --w=96", "a fox --w\t96", "a fox --w\n96", "a fox --\tw 96", "a fox — w 96", "--w 96", "--w 96 a fox",
    "a fox --gr 0.5 --a 1 --ref .2", "a fox --gr x", "a fox --ev 1,2,x", "a fox --ev 1, 2", "a fox --fps 8.5", "a fox --p2 b --n2 c",
    "a fox --ctrl_idx one", "a fox --ctrl_img x.png", "a fox --frames 9", "\u00a0a fox\u3000", "\ufeffa fox", "a fox\x1c",
    "a fox --cfg  3  ", "a fox --d +9", "a fox --d ' 9'", "a fox --h 250 --w 216 --s 4 --m 0.5 --d 7", None,
]
SIZES = [512, 100, 30, 0, -8, 216, 250, 64, 63, 100.5, "512", None]
SEEDS = [42, -1, 0, 7, 18446744073709551615, 18446744073709551616, -5, 42.7, "9", "-1", "x", None]
GUIDANCES = [4, 1, 0, 0.5, -1, 21.5, "4", None]
STEPS = [20, 1, 9, "9", None]
MULTIPLIERS = [1, 0, -0.7, 3, "0.3", "-1", "x", " 2 ", "1e1", "inf", None]
NEGATIVES = ["", "a hen", "[trigger] hen", None, False, 5]
# Not one with a placeholder in it: Python's order of a set decides what becomes of that.
TRIGGERS = [None, "", "zorple", "zorple --w 96", "$&"]


def some(dice: random.Random, values: list, often: int) -> dict:
    """A setting left out, the first usual values, or any of them."""
    return dice.choice(values[:often]) if dice.random() < 0.9 else dice.choice(values)


def section(dice: random.Random) -> dict:
    own = {}
    fields = {
        "width": (SIZES, 2), "height": (SIZES, 2), "seed": (SEEDS, 4), "guidance_scale": (GUIDANCES, 4),
        "sample_steps": (STEPS, 3), "network_multiplier": (MULTIPLIERS, 4), "neg": (NEGATIVES, 3),
    }
    for name, (values, often) in fields.items():
        if dice.random() < 0.6:
            own[name] = some(dice, values, often)
    if dice.random() < 0.7:
        own["walk_seed"] = dice.choice([True, False, 1, 0, "false"])
    count = dice.randint(1, 4)
    if dice.random() < 0.2:
        own["prompts"] = [some(dice, PROMPTS, 4) for _ in range(count)]
        return own
    own["samples"] = []
    for _ in range(count):
        item = {"prompt": some(dice, PROMPTS, 8)}
        for name, (values, often) in fields.items():
            if dice.random() < 0.15:
                item[name] = some(dice, values, often)
        own["samples"].append(item)
    return own


def cases() -> list[dict]:
    dice = random.Random(10)
    # Each prompt once with everything else as usual.
    found = [{"trigger_word": "zorple", "sample": {"samples": [{"prompt": prompt}]}} for prompt in PROMPTS]
    for _ in range(350):
        process = {"sample": section(dice)}
        if dice.random() < 0.8:
            process["trigger_word"] = dice.choice(TRIGGERS)
        if dice.random() < 0.3:
            process["first_sample"] = section(dice)
        if dice.random() < 0.3:
            process["train"] = {"cache_text_embeddings": True}
        found.append(process)
    return found


loaded = {commit: load(commit) for commit in COMMITS}
out = []
for process in cases():
    sets = ["sample", "first_sample"] if "first_sample" in process else ["sample"]
    for name in sets:
        by = {commit: run(scope, process, name == "first_sample") for commit, scope in loaded.items()}
        before, after = by["4e62c38d"], by["27a03a91"]
        # Cached prompts got their trigger word in 479c72ad; nothing else changed.
        assert all(by[c] == before for c in COMMITS[:5]) and all(by[c] == after for c in COMMITS[5:]), process
        out.append({"process": process, "set": name, "before": before, "after": after if after != before else "same"})

OUT.write_text("[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in out) + "\n]\n")
manifest.record(
    OUT, "what ai-toolkit's own functions hand to the pipeline for odd sample sections", "int, f64", 0, 0,
    generation="trainer", versions={"ai-toolkit": " ".join(COMMITS), "python": platform.python_version()},
)
print(len(out), "rounds,", sum(one["before"] is None for one in out), "of them stop the trainer")
