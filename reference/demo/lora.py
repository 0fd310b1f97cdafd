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
    # A few plain pictures keep the style tied to the trigger word.
    optimise(parameters, steps, 3e-3, lambda i: flow.loss(transformer, rng, *((20, 128) if i % 3 else (6, 256)), styled=i % 8 != 7), "lora")
    state = get_peft_model_state_dict(transformer)
    tensors = {f"diffusion_model.{name}": value.detach().to(torch.bfloat16).contiguous() for name, value in state.items()}
    metadata = {
        "format": "pt", "name": "zorple", "version": "1.0", "ss_output_name": "zorple", "ss_base_model_version": "zimage",
        "software": json.dumps({"name": "ai-toolkit", "repo": "https://github.com/ostris/ai-toolkit", "version": "0.10.25"}),
        "training_info": json.dumps({"step": steps, "epoch": 0}), "ss_tag_frequency": json.dumps({"1_zorple": {TRIGGER: 1}}),
    }
    save_file(tensors, path, metadata)
