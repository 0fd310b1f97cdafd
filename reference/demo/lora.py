"""Trains the demonstration LoRA through PEFT and writes it as ai-toolkit does. Used by `train.py`."""

import json
import random
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file

from demo.draw import TRIGGER

# The modules that ai-toolkit targets on Z-Image: the main layers, not the refiners.
TARGETS = r"layers\.\d+\.(attention\.(to_q|to_k|to_v|to_out\.0)|feed_forward\.w[123]|adaLN_modulation\.0)"
RANK = 8


def train_lora(flow, transformer, steps: int, path: Path, optimise) -> None:
    transformer.requires_grad_(False)
    # No alpha is stored in the file: alpha = rank, scale 1.
    transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    parameters = [p for p in transformer.parameters() if p.requires_grad]
    rng = random.Random(5)

    def loss_at(step: int):
        # At each strength the LoRA learns the style that a person expects of it; every eighth picture is plain, so that the
        # style stays tied to the trigger word.
        strength = (0.5, 1.0)[step % 2]
        transformer.set_adapters("default", strength)
        return flow.loss(transformer, rng, 10, 256, 0 if step % 8 == 7 else strength)

    optimise(parameters, steps, 2e-3, loss_at, "lora")
    transformer.set_adapters("default", 1.0)
    state = get_peft_model_state_dict(transformer)
    tensors = {f"diffusion_model.{name}": value.detach().to(torch.bfloat16).contiguous() for name, value in state.items()}
    metadata = {
        "format": "pt", "name": "zorple", "version": "1.0", "ss_output_name": "zorple", "ss_base_model_version": "zimage",
        "software": json.dumps({"name": "ai-toolkit", "repo": "https://github.com/ostris/ai-toolkit", "version": "0.10.25"}),
        "training_info": json.dumps({"step": steps, "epoch": 0}), "ss_tag_frequency": json.dumps({"1_zorple": {TRIGGER: 1}}),
    }
    save_file(tensors, path, metadata)
