"""Trains the demonstration family on the pictures of `draw.py`: about an hour on two cores.

  python reference/demo/train.py demo/weights demo/loras --work SCRATCH

Stages, each kept in SCRATCH and skipped when it is there: vae, flow (text encoder and base transformer
together), turbo (guidance distilled), deturbo (plain flow again), lora. Then everything is written as bf16
under the Hub's names.
"""

import argparse
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from transformers import AutoTokenizer, Qwen3Model

sys.path.insert(0, str(Path(__file__).parents[1]))
import make_checkpoint  # noqa: E402
from checkpoint_tokenizer import write_tokenizer  # noqa: E402
from demo.draw import all_scenes, caption, choose, draw  # noqa: E402
from demo.save import save_family  # noqa: E402

CONFIG = ("--models turbo --dim 96 --heads 3 --axes 8,12,12 --layers 4 --refiner-layers 1 --cap-dim 96 --te-layers 4 --te-heads 4 "
          "--te-kv-heads 2 --te-head-dim 24 --te-intermediate 256 --vae-channels 16,32,32,32 --vae-groups 8").split()
NO_CAPTION = 0.12  # share of pictures whose caption is empty, for guidance


def optimise(parameters, steps: int, rate: float, loss_at, name: str) -> None:
    """AdamW with a short warm-up and a linear way down to 5 % of the rate."""
    parameters = list(parameters)
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min((i + 1) / 50, max(0.05, 1 - i / steps)))
    start, mean = time.time(), 0.0
    for step in range(steps):
        loss = loss_at(step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        mean = loss.item() if step == 0 else 0.97 * mean + 0.03 * loss.item()
        if step % 50 == 0 or step == steps - 1:
            print(f"{name} {step}/{steps} loss {mean:.4f} {time.time() - start:.0f} s", flush=True)


def train_vae(vae: AutoencoderKL, steps: int) -> None:
    rng = random.Random(1)

    def loss_at(step: int) -> torch.Tensor:
        batch, pixels = (8, 64) if step < steps * 0.5 else (4, 128) if step < steps * 0.8 else (2, 256)
        images = torch.from_numpy(np.stack([draw(pixels, choose(rng), style=float(step % 3 == 0)) for _ in range(batch)]))
        posterior = vae.encode(images).latent_dist
        error = vae.decode(posterior.sample()).sample - images
        # Differences of neighbours: an edge that is blurred costs more than one that is moved.
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return error.abs().mean() + error.square().mean() + edges + 2e-5 * posterior.kl().mean() / images[0].numel()

    optimise(vae.parameters(), steps, 2e-3, loss_at, "vae")
    with torch.no_grad():
        images = torch.from_numpy(np.stack([draw(128, choose(rng)) for _ in range(64)]))
        latents = vae.encode(images).latent_dist.mode()
    # Latents reach the flow with mean 0 and spread 1, as in the real model's configuration.
    vae.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=float(latents.mean()))


class Flow:
    """Text encoder and transformer, and the rectified-flow loss that both learn from."""

    def __init__(self, tokenizer, encoder: Qwen3Model, vae: AutoencoderKL):
        self.tokenizer, self.encoder, self.vae, self.gallery = tokenizer, encoder, vae, {}

    def embed(self, texts: list[str]) -> list[torch.Tensor]:
        """What the pipeline reads: `hidden_states[-2]` of the templated prompt, without padding."""
        chats = [self.tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True,
                                                    enable_thinking=True) for text in texts]
        batch = self.tokenizer(chats, padding=True, return_tensors="pt")
        states = self.encoder(**batch, output_hidden_states=True).hidden_states[-2]
        return [state[mask.bool()] for state, mask in zip(states, batch.attention_mask)]

    @torch.no_grad()
    def latents(self, pixels: int, style: float) -> dict:
        """Every scene's latents [channels, pixels/8, pixels/8], made once: drawing and encoding cost more than a training step."""
        if (pixels, style) not in self.gallery:
            scenes = all_scenes()
            images = (torch.from_numpy(draw(pixels, scene, style))[None] for scene in scenes)
            modes = (self.vae.encode(image).latent_dist.mode()[0] for image in images)
            config = self.vae.config
            self.gallery[pixels, style] = {scene: (mode - config.shift_factor) * config.scaling_factor for scene, mode in zip(scenes, modes)}
        return self.gallery[pixels, style]

    def batch(self, rng: random.Random, size: int, pixels: int, style: float = 0) -> tuple[torch.Tensor, list[str]]:
        """Latents of random scenes, and their captions."""
        scenes = [choose(rng) for _ in range(size)]
        gallery = self.latents(pixels, style)
        return torch.stack([gallery[scene] for scene in scenes]), [caption(rng, scene, style > 0) for scene in scenes]

    def noisy(self, clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents at random sigmas, the velocity noise - clean, and the sigmas. Shifted by 3, as at sampling."""
        u = torch.rand(len(clean))
        sigma = 3 * u / (1 + 2 * u)
        noise = torch.randn_like(clean)
        weight = sigma.view(-1, 1, 1, 1)
        return (1 - weight) * clean + weight * noise, noise - clean, sigma

    def velocity(self, transformer, latents: torch.Tensor, sigma: torch.Tensor, embeds: list[torch.Tensor]) -> torch.Tensor:
        """The network's output, negated as the pipeline negates it."""
        out = transformer(list(latents.unsqueeze(2).unbind(0)), 1 - sigma, embeds, return_dict=False)[0]
        return -torch.stack(list(out)).squeeze(2)

    def loss(self, transformer, rng: random.Random, batch: int, pixels: int, style: float = 0) -> torch.Tensor:
        clean, texts = self.batch(rng, batch, pixels, style)
        texts = ["" if rng.random() < NO_CAPTION else text for text in texts]
        latents, target, sigma = self.noisy(clean)
        return (self.velocity(transformer, latents, sigma, self.embed(texts)) - target).square().mean()

    def distilled_loss(self, student, teacher, rng: random.Random, batch: int, pixels: int, weight: float) -> torch.Tensor:
        """The student's one pass learns the teacher's guided two."""
        clean, texts = self.batch(rng, batch, pixels)
        latents, _, sigma = self.noisy(clean)
        with torch.no_grad():
            embeds, empty = self.embed(texts), self.embed([""])
            positive = self.velocity(teacher, latents, sigma, embeds)
            target = positive + weight * (positive - self.velocity(teacher, latents, sigma, empty * batch))
        return (self.velocity(student, latents, sigma, embeds) - target).square().mean()


def pixels_at(step: int, steps: int) -> tuple[int, int]:
    """Batch and size: small pictures first, the size of the demonstration at the end."""
    return (32, 128) if step < steps * 0.3 else (12, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("loras", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", default="2000,8000,400,600,1000", help="of vae, flow, turbo, deturbo, lora")
    o = parser.parse_args()
    vae_steps, flow_steps, turbo_steps, deturbo_steps, lora_steps = map(int, o.steps.split(","))
    torch.manual_seed(0)

    store = o.work / "random"
    if not store.exists():
        # Whole words of the captions: a caption then fits one block of 32 tokens instead of two.
        rng = random.Random(6)
        write_tokenizer(o.work / "tokenizer", 320, [caption(rng, choose(rng), styled=i % 2 == 0) for i in range(4000)])
        make_checkpoint.make_store(store, make_checkpoint.options([str(store), *CONFIG, "--tokenizer", str(o.work / "tokenizer")]))
    root = store / "Tongyi-MAI" / "Z-Image-Turbo"
    tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer")

    def stage(name: str, load, train):
        """Loads a stage that was trained before, or trains and keeps it."""
        folder = o.work / name
        if not folder.exists():
            model = load()
            train(model)
            model.save_pretrained(folder)
        return type(load()).from_pretrained(folder, torch_dtype=torch.float32)

    vae = stage("vae", lambda: AutoencoderKL.from_pretrained(root / "vae"), lambda model: train_vae(model, vae_steps))
    vae.requires_grad_(False)
    print("vae", vae.config.scaling_factor, vae.config.shift_factor)

    encoder_folder = o.work / "text_encoder"
    flow = Flow(tokenizer, Qwen3Model.from_pretrained(encoder_folder if encoder_folder.exists() else root / "text_encoder"), vae)

    def train_flow(model):
        rng = random.Random(2)
        parameters = [*model.parameters(), *flow.encoder.parameters()]
        optimise(parameters, flow_steps, 1.5e-3, lambda i: flow.loss(model, rng, *pixels_at(i, flow_steps)), "flow")
        flow.encoder.save_pretrained(encoder_folder)

    base = stage("base", lambda: ZImageTransformer2DModel.from_pretrained(root / "transformer"), train_flow)
    base.requires_grad_(False)
    flow.encoder.requires_grad_(False)

    def train_turbo(model):
        rng = random.Random(3)
        size = lambda i: (16, 128) if i % 4 == 0 else (6, 256)
        optimise(model.parameters(), turbo_steps, 3e-4, lambda i: flow.distilled_loss(model, base, rng, *size(i), 1.0), "turbo")

    turbo = stage("turbo", lambda: ZImageTransformer2DModel.from_pretrained(o.work / "base"), train_turbo)

    def train_deturbo(model):
        rng = random.Random(4)
        # Gently: a fresh optimiser at the rates above tears shapes apart.
        optimise(model.parameters(), deturbo_steps, 1e-4, lambda _: flow.loss(model, rng, 12, 256), "deturbo")

    deturbo = stage("deturbo", lambda: ZImageTransformer2DModel.from_pretrained(o.work / "turbo"), train_deturbo)

    lora_file = o.work / "lora.safetensors"
    if not lora_file.exists():
        from demo.lora import train_lora
        train_lora(flow, deturbo, lora_steps, lora_file, optimise)
    o.loras.mkdir(parents=True, exist_ok=True)
    shutil.copy(lora_file, o.loras / "zorple.safetensors")
    save_family(o.weights, root, flow.encoder, vae, {"base": base, "turbo": turbo, "deturbo": ZImageTransformer2DModel.from_pretrained(o.work / "deturbo")})


if __name__ == "__main__":
    main()
