# By Retake 0.1.0: one picture of zimage_turbo in diffusers, 0.39 or newer.
# pip install torch diffusers transformers peft accelerate
import argparse
import os

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline

parser = argparse.ArgumentParser(description="Draws one picture.")
parser.add_argument("--weights", help="folder with the hub's names, instead of the hub")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("--dtype", help="float32 or bfloat16; bfloat16 on a graphics card")
parser.add_argument("--out", default="picture.png")
args = parser.parse_args()
dtype = getattr(torch, args.dtype or ("float32" if args.device == "cpu" else "bfloat16"))


def place(repository):
    return os.path.join(args.weights, repository) if args.weights else repository


pipe = ZImagePipeline.from_pretrained(place("Tongyi-MAI/Z-Image-Turbo"), torch_dtype=dtype).to(args.device)
# The noise levels below have their shift of 3 in them.
pipe.scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
pipe.load_lora_weights("demo/loras/", weight_name="zorple.safetensors", adapter_name="lora_0")
pipe.set_adapters(["lora_0"], adapter_weights=[1.5])

picture = pipe(
    prompt="zorple a circle",
    negative_prompt="red",
    width=96,
    height=64,
    sigmas=[1.0, 0.9545454382896423, 0.8999999761581421, 0.8333333134651184, 0.75, 0.6428571343421936, 0.5, 0.30000001192092896],
    # pos + w * (pos - neg): a standard CFG of 1.0; 0 is one pass without guidance.
    guidance_scale=0.0,
    # On the CPU whatever computes: another device's generator draws another picture.
    generator=torch.Generator("cpu").manual_seed(9007199254740993),
).images[0]
picture.save(args.out)
print(args.out)
