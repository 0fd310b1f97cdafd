"""Goldens of a tiny random checkpoint: the store, a LoRA, whole traces, and single stages. Called by `goldens.py`."""

import json
from pathlib import Path

import torch

import make_checkpoint
import trace
from checkpoint_weights import save
from make_lora import header, make_lora

LORA = "lora-mixed-ranks.safetensors"
HEAD_ONLY = {"full-rows-g0", "long-g1"}  # the generations differ in the schedule alone; the others show that
LONG = "one of many foxes " * 120  # more than 512 tokens
# name -> request; sizes are multiples of 32, so that the server's rounding changes nothing
TRACES = {
    "plain-g0": dict(prompt="a red fox sits under a cherry blossom tree", steps=4, guidance=0.0, width=32, height=96),
    "plain-g3": dict(prompt="一只猫在雪地里 🦊", neg="blurry, it's bad", seed=2**32 + 7, steps=4, guidance=3.0, width=96, height=32),
    "lora-g0": dict(prompt="photo of ohwx", seed=7, steps=3, guidance=0.0, width=32, height=64, lora=[(LORA, 1.0)]),
    "lora-g3": dict(prompt="", neg="", seed=8, steps=3, guidance=3.0, width=64, height=32, lora=[(LORA, -0.75)]),
    "full-rows-g0": dict(prompt="no pads", seed=9, steps=2, guidance=0.0, width=64, height=128),
    "long-g1": dict(prompt=LONG, neg="short", seed=10, steps=2, guidance=1.0, width=32, height=32),
}


def write_store(folder: Path) -> list[Path]:
    options = make_checkpoint.options([str(folder / "store")])
    make_checkpoint.make_store(options.out, options)
    config = json.loads((options.out / "Tongyi-MAI/Z-Image-Turbo/transformer/config.json").read_text())
    tensors = make_lora(config, [2, 4, 1, 8], "some", "f32", 0.3, 5)
    save(folder / LORA, tensors, header("lora-mixed-ranks", 1000))
    return sorted(path for path in (folder / "store").rglob("*") if path.is_file()) + [folder / LORA]


def write_traces(folder: Path, generation: str) -> list[Path]:
    pipe = trace.load(folder / "store", "zimage_turbo", "f32")
    written = []
    for name, request in TRACES.items():
        if generation == "pin" and name in HEAD_ONLY:
            continue
        lora = [(str(folder / file), multiplier) for file, multiplier in request.get("lora", [])]
        path = folder / "traces" / f"{generation}-{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        trace.write(str(path), trace.run(pipe, **(request | {"lora": lora})), {"model": "zimage_turbo", "neg": "", "seed": 42, "lora": []} | request)
        written.append(path)
    return written


def write_requests(folder: Path) -> Path:
    """The requests of the traces, for tests that would rather not read them from the traces' metadata."""
    path = folder / "traces" / "requests.json"
    path.parent.mkdir(exist_ok=True)
    value = {name: {"neg": "", "seed": 42, "lora": []} | request for name, request in TRACES.items()}
    path.write_text(json.dumps(value, indent=1) + "\n")
    return path


@torch.no_grad()
def stages(folder: Path) -> dict[str, torch.Tensor]:
    """Inputs and outputs of single stages, f32. Blocks' tensors are [1, tokens, dim]."""
    pipe = trace.load(folder / "store", "zimage_turbo", "f32")
    out: dict[str, torch.Tensor] = {}
    hooks = []

    def watch(name: str, module: torch.nn.Module) -> None:
        def seen(_module, args, result):
            out[f"{name}.in"] = args[0].detach().clone()
            out[f"{name}.out"] = (result[0] if isinstance(result, tuple) else result).detach().clone()

        hooks.append(module.register_forward_hook(seen))

    ids = pipe.tokenizer(pipe.tokenizer.apply_chat_template([{"role": "user", "content": "a red fox"}], tokenize=False, add_generation_prompt=True,
                                                            enable_thinking=True), return_tensors="pt").input_ids
    encoder = pipe.text_encoder
    for i, layer in enumerate(encoder.layers):
        if i + 1 < len(encoder.layers):  # the last layer is never read
            watch(f"text.layers.{i}", layer)
    states = encoder(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
    out["text.input_ids"], out["text.embed_tokens.out"], out["text.prompt_embeds"] = ids[0], states[0][0], states[-2][0]

    dit = pipe.transformer
    height, width = 12, 8  # 24 image tokens and 8 pads
    generator = torch.Generator().manual_seed(11)
    latents = torch.randn(16, 1, height, width, generator=generator)
    t = torch.tensor([0.25])  # (1000 - 750) / 1000
    watch("t_embedder", dit.t_embedder)
    watch("x_embedder", dit.all_x_embedder["2-1"])
    watch("cap_embedder", dit.cap_embedder)
    watch("final_layer", dit.all_final_layer["2-1"])
    for group in ("noise_refiner", "context_refiner", "layers"):
        for i, block in enumerate(getattr(dit, group)):
            watch(f"{group}.{i}", block)
            if group == "layers" and i == 0:
                watch(f"{group}.{i}.attention", block.attention)
                watch(f"{group}.{i}.feed_forward", block.feed_forward)
            if block.modulation:
                watch(f"{group}.{i}.adaLN_modulation.0", block.adaLN_modulation[0])
    tables, rope = [], dit.rope_embedder.__class__.__call__
    dit.rope_embedder.__class__.__call__ = lambda self, positions: tables.append((positions, rope(self, positions))) or tables[-1][1]
    try:
        result = dit([latents], t, [states[-2][0]], return_dict=False)[0][0]
    finally:
        dit.rope_embedder.__class__.__call__ = rope
    out["transformer.latents"], out["transformer.t"], out["transformer.cap_feats"], out["transformer.out"] = latents, t, states[-2][0], result
    out["time_vector"] = dit.t_embedder.timestep_embedding(t * dit.t_scale, 256)
    for name, (positions, table) in zip(("image", "caption"), tables):
        # The reference makes ids for a caption's pads twice and cuts the second lot off.
        positions, table = positions[:32], table[:32]
        out[f"rope.{name}.positions"] = positions.to(torch.int64)
        out[f"rope.{name}.cos"], out[f"rope.{name}.sin"] = table.real, table.imag  # [tokens, head_dim / 2], adjacent pairs

    vae = pipe.vae
    z = torch.randn(1, 16, 4, 6, generator=generator)
    scaled = z / vae.config.scaling_factor + vae.config.shift_factor
    watch("vae.conv_in", vae.decoder.conv_in)
    watch("vae.mid_block", vae.decoder.mid_block)
    watch("vae.mid_block.attentions.0", vae.decoder.mid_block.attentions[0])
    for i, block in enumerate(vae.decoder.up_blocks):
        watch(f"vae.up_blocks.{i}", block)
    decoded = vae.decode(scaled, return_dict=False)[0]
    out["vae.latents"], out["vae.scaled"], out["vae.decoded"] = z, scaled, decoded
    out["vae.image"] = pipe.image_processor.postprocess(decoded, output_type="pt")[0]
    for hook in hooks:
        hook.remove()
    # Large copies of what a neighbour already holds.
    for name in [n for n in out if n.startswith(("vae.up_blocks.", "vae.mid_block")) and n.endswith(".in")]:
        del out[name]
    return out


def write_stages(folder: Path) -> Path:
    path = folder / "stages.safetensors"
    save(path, dict(sorted(stages(folder).items())), {"reference": json.dumps(trace.versions())})
    return path
