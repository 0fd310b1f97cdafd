# By Retake 0.1.0: one picture of zimage_deturbo in diffusers, 0.39 or newer.
# pip install torch diffusers transformers peft accelerate
import argparse
import os

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

parser = argparse.ArgumentParser(description="Draws one picture.")
parser.add_argument("--weights", help="folder with the hub's names, instead of the hub")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
parser.add_argument("--dtype", help="float32 or bfloat16; bfloat16 on a graphics card")
parser.add_argument("--out", default="picture.png")
args = parser.parse_args()
dtype = getattr(torch, args.dtype or ("float32" if args.device == "cpu" else "bfloat16"))


def place(repository):
    return os.path.join(args.weights, repository) if args.weights else repository


transformer = ZImageTransformer2DModel.from_pretrained(
    place("ostris/Z-Image-De-Turbo"), subfolder="transformer", torch_dtype=dtype
)
pipe = ZImagePipeline.from_pretrained(
    place("Tongyi-MAI/Z-Image-Turbo"), transformer=transformer, torch_dtype=dtype
).to(args.device)
# The noise levels below have their shift of 3 in them.
pipe.scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
pipe.load_lora_weights("demo/loras/", weight_name="zorple.safetensors", adapter_name="lora_0")
pipe.set_adapters(["lora_0"], adapter_weights=[0.0])

picture = pipe(
    prompt="zorple a blue square",
    negative_prompt="green, \"large\"",
    width=80,
    height=64,
    sigmas=[1.0, 0.9677419066429138, 0.931034505367279, 0.8888888955116272, 0.8399999737739563, 0.782608687877655, 0.7142857313156128, 0.6315789222717285, 0.529411792755127, 0.4000000059604645, 0.23076923191547394],
    # pos + w * (pos - neg): a standard CFG of 4.5; 0 is one pass without guidance.
    guidance_scale=3.5,
    # On the CPU whatever computes: another device's generator draws another picture.
    generator=torch.Generator("cpu").manual_seed(12345),
).images[0]
picture.save(args.out)
print(args.out)
