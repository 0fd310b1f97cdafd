"""A Z-Image transformer's weights as other tools write them: original names, fp8 with and without scales, GGUF.

Each function writes one file and returns the f32 values that it holds, under diffusers' names.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import torch

import int8_blocks
from checkpoint_weights import save
from ggml_quantise import dequantise, quantise

State = dict[str, torch.Tensor]
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def original_names(state: State) -> State:
    """The names of the published single files, with q, k and v in one matrix."""
    out = {}
    for name, value in state.items():
        if ".to_k." in name or ".to_v." in name:
            continue
        if ".to_q." in name:
            name, value = name.replace("to_q", "qkv"), torch.cat([state[name.replace("to_q", f"to_{x}")] for x in "qkv"])
        for before, after in (("all_x_embedder.2-1.", "x_embedder."), ("all_final_layer.2-1.", "final_layer."), ("to_out.0.", "out."),
                              ("norm_q.", "q_norm."), ("norm_k.", "k_norm.")):
            name = name.replace(before, after)
        out[name] = value
    return out


def diffusers_names(state: State) -> State:
    """The way back."""
    out = {}
    for name, value in state.items():
        for before, after in (("attention.out.", "attention.to_out.0."), ("q_norm.", "norm_q."), ("k_norm.", "norm_k.")):
            name = name.replace(before, after)
        if name.startswith(("x_embedder.", "final_layer.")):
            group, rest = name.split(".", 1)
            name = f"all_{group}.2-1.{rest}"
        if "attention.qkv." in name:
            for x, part in zip("qkv", value.chunk(3)):
                out[name.replace("qkv", f"to_{x}")] = part.clone()
        else:
            out[name] = value
    return out


def in_blocks(name: str, value: torch.Tensor) -> bool:
    return value.dim() == 2 and name.startswith(("layers.", "noise_refiner.", "context_refiner."))


def fp8_cast(path: Path, state: State) -> State:
    """Every tensor cast, without any scale: e5m2 for the feed-forward, e4m3 for the rest."""
    stored = {name: value.to(E5M2 if "feed_forward" in name else E4M3) for name, value in original_names(state).items()}
    save(path, stored, {"format": "pt"})
    return diffusers_names({name: value.float() for name, value in stored.items()})


def scaled(value: torch.Tensor, by_row: bool) -> tuple[torch.Tensor, torch.Tensor]:
    largest = value.abs().amax(dim=1, keepdim=True) if by_row else value.abs().max()
    scale = largest / torch.finfo(E4M3).max
    return (value / scale).to(E4M3), scale


def fp8_scaled(path: Path, state: State) -> State:
    """ComfyUI's older layout: a marker, one scale for each matrix, in a checkpoint with other parts; the rest in bf16."""
    prefix, stored, values = "model.diffusion_model.", {}, {}
    for name, value in original_names(state).items():
        if in_blocks(name, value):
            stored[prefix + name], scale = scaled(value, by_row=False)
            module = prefix + name.removesuffix(".weight")
            stored[f"{module}.scale_weight"], stored[f"{module}.scale_input"] = scale, torch.tensor(0.5)
            values[name] = stored[prefix + name].float() * scale
        else:
            stored[prefix + name] = value.to(torch.bfloat16)
            values[name] = stored[prefix + name].float()
    stored[f"{prefix}scaled_fp8"] = torch.empty(0, dtype=E4M3)
    stored["text_encoders.qwen3_4b.scaled_fp8"] = torch.empty(0, dtype=E4M3)
    stored["vae.decoder.conv_in.bias"] = torch.zeros(4)
    save(path, stored, {"format": "pt"})
    return diffusers_names(values)


def fp8_rows(path: Path, state: State) -> State:
    """The newer layout: a scale for each row, and a note for each layer; the rest in f16."""
    stored, values = {}, {}
    note = torch.frombuffer(bytearray(json.dumps({"format": "float8_e4m3fn", "full_precision_matrix_mult": True}).encode()), dtype=torch.uint8)
    for name, value in original_names(state).items():
        if in_blocks(name, value):
            stored[name], scale = scaled(value, by_row=True)
            module = name.removesuffix(".weight")
            stored[f"{module}.weight_scale"], stored[f"{module}.comfy_quant"] = scale, note.clone()
            values[name] = stored[name].float() * scale
        else:
            stored[name] = value.to(torch.float16)
            values[name] = stored[name].float()
    save(path, stored, {"format": "pt"})
    return diffusers_names(values)


def rounded_to_int8(state: State) -> State:
    """Retake's own: the matrices of the blocks but adaLN's."""
    return {name: int8_blocks.rounded(value) if in_blocks(name, value) and "adaLN" not in name else value for name, value in state.items()}


def gguf_file(path: Path, state: State, kind_of) -> State:
    """As city96's converter writes it: architecture `lumina2`, original names. `kind_of(name, value)` names each tensor's format."""
    writer, values = gguf.GGUFWriter(path, "lumina2"), {}
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, value in original_names(state).items():
        kind, array = kind_of(name, value), value.float().numpy()
        if name == "cap_pad_token":  # ggml drops dimensions of 1: published files have both shapes
            array = array.reshape(-1)
        data = array if kind == "F32" else array.astype(np.float16) if kind == "F16" else quantise(array, kind)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])
        exact = data.astype(np.float32) if kind in ("F32", "F16") else dequantise(data, kind)
        values[name] = torch.from_numpy(exact.reshape(value.shape).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return diffusers_names(values)
