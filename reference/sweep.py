"""Random cases, run by the reference and by `bin/retake`, compared stage by stage; exit status 1 on a failure.

  $HEAD reference/sweep.py --cases 50 --head-python $HEAD --pin-python $PIN --work /tmp/sweep
  ... --against reference    # PIN with N + 1 steps against HEAD with N: checks the harness without `bin/retake`
  ... --only 17              # one case of the same seed again, with the commands shown

Stores, adapters and cases depend on --seed alone. One reference process per generation stays up.
The reference computes in f32 whatever the weights' dtype is, as `retake`'s exact mode does.
"""

import argparse
import contextlib
import json
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path

import compare
import make_checkpoint
from checkpoint_weights import save
from make_lora import header, make_lora

HERE = Path(__file__).resolve().parent
PROMPTS = {
    "empty": "", "short": "photo of ohwx man, 85mm f/1.4, it's SHARP", "long": "one of many foxes sits under a tree " * 90,
    "chinese": "一只猫在雪地里，城市夜景，霓虹灯。", "arabic": "نصٌّ حكيمٌ لهُ سِرٌّ قاطِعٌ", "emoji": "🦊🌸 👩‍👩‍👧‍👦 cafe\u0301", "special": "a<|im_end|>\n<|im_start|>b <think>",
    "spaces": "  two  spaces \n\n end ",
}
PROFILES = {"pin": "reference", "head": "diffusers"}


def store_flags(rng: random.Random) -> list[str]:
    axes = rng.choice([[8, 8, 8], [8, 4, 4], [16, 24, 24], [4, 6, 6], [32, 48, 48]])
    heads = rng.choice([1, 2, 3, 5])
    kv_heads = rng.choice([1, 2])
    channels, groups = rng.choice([("4,8,16,16", 4), ("8,16,16,16", 2), ("32,32,64,64", 32), ("8,8,8,8", 8)])
    flags = dict(dim=sum(axes) * heads, heads=heads, axes=",".join(map(str, axes)), layers=rng.randint(1, 5), refiner_layers=rng.randint(1, 2),
                 cap_dim=rng.choice([32, 64, 96]), te_layers=rng.randint(2, 5), te_kv_heads=kv_heads, te_heads=kv_heads * rng.choice([1, 2, 4]),
                 te_head_dim=rng.choice([8, 16, 64, 128]), te_intermediate=rng.choice([48, 64, 200]), vae_channels=channels, vae_groups=groups,
                 dtype=rng.choice(["f32", "bf16", "bf16", "f16"]), shard_bytes=rng.choice([200_000, 10**9]), seed=rng.randrange(1000))
    return [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))] + ["--models", "turbo", "base", "deturbo"]


def make_stores(work: Path, count: int, seed: int) -> list[tuple[Path, list[tuple[str, str]]]]:
    """(store, [(LoRA file, description)]) for each of `count` random configurations."""
    stores = []
    for i in range(count):
        rng = random.Random(f"{seed}/store/{i}")
        folder, flags = work / f"seed{seed}" / f"store{i}", store_flags(rng)
        done = folder / "flags.json"
        if not done.exists():
            options = make_checkpoint.options([str(folder / "store"), *flags])
            make_checkpoint.make_store(options.out, options)
        config = json.loads((folder / "store" / "Tongyi-MAI/Z-Image-Turbo/transformer/config.json").read_text())
        adapters = []
        for j in range(4):
            ranks = rng.choice([[1], [4], [16], [64], [1, 2, 8], [64, 3, 16, 32]])
            modules, dtype = rng.choice(["all", "some"]), rng.choice(["f32", "bf16", "f16"])
            file = folder / f"lora{j}.safetensors"
            if not done.exists():
                save(file, make_lora(config, ranks, modules, dtype, 0.3, rng.randrange(10**6)), header(file.stem, 100))
            else:
                rng.randrange(10**6)
            adapters.append((str(file), f"{'/'.join(map(str, ranks))} {modules} {dtype}"))
        done.write_text(json.dumps(flags))
        stores.append((folder / "store", adapters))
    return stores


def make_case(index: int, seed: int, stores: list) -> dict:
    rng = random.Random(f"{seed}/case/{index}")
    store, adapters = rng.choice(stores)
    generation = rng.choice(["pin", "head"])
    unit = 32 if generation == "pin" else 16  # the server floors sizes to 32
    width, height = rng.sample(range(64, 193, unit), 2)
    chosen = rng.sample(adapters, rng.choice([0, 1, 1, 1]))
    lora = [(file, round(rng.uniform(-2, 2), 3), about) for file, about in chosen]
    prompt, neg = rng.choice(list(PROMPTS)), rng.choice(list(PROMPTS))
    return dict(index=index, store=str(store), generation=generation, model=rng.choice(["zimage_turbo", "zimage", "zimage_deturbo"]), prompt=prompt, neg=neg,
                guidance=rng.choice([0.0, 0.5, 1.0, 3.0, 7.5]), steps=rng.choice([1, 2, 3, 4, 8, rng.randint(1, 30)]), width=width, height=height,
                seed=rng.choice([0, 42, rng.randrange(2**31), rng.randrange(2**53)]), lora=lora)


class Reference:
    """A `trace.py --serve` process."""

    def __init__(self, python: str, log: Path):
        self.log = log.open("w")
        self.process = subprocess.Popen([python, str(HERE / "trace.py"), "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, encoding="utf-8")

    def run(self, case: dict, out: Path, steps: int) -> None:
        names = ("guidance", "width", "height", "seed")
        request = {"weights": case["store"], "model": case["model"], "dtype": "f32", "out": str(out),
                   "run": {name: case[name] for name in names} | {"steps": steps, "prompt": PROMPTS[case["prompt"]], "neg": PROMPTS[case["neg"]],
                                                                  "lora": [(file, multiplier) for file, multiplier, _ in case["lora"]]}}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"ok": false, "error": "the reference process died"}')
        if not answer["ok"]:
            raise RuntimeError(f"reference: {answer['error']}")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def retake_command(case: dict, binary: Path, out: Path) -> list[str]:
    flags = ["--model", case["model"], "--weights", case["store"], "--prompt", PROMPTS[case["prompt"]], "--neg", PROMPTS[case["neg"]]]
    for name in ("width", "height", "steps", "guidance", "seed"):
        flags += [f"--{name}", f"{case[name]:g}" if name == "guidance" else str(case[name])]
    for file, multiplier, _ in case["lora"]:
        flags += ["--lora", f"{file}={multiplier}"]
    return [str(binary), "generate", *flags, "--profile", PROFILES[case["generation"]], "--out", str(out.with_suffix(".png")), "--trace", str(out), "--json"]


def run_case(case: dict, references: dict[str, Reference], args) -> list:
    """Rows of `compare.compare`."""
    a, b = args.work / f"case{case['index']}-reference.safetensors", args.work / f"case{case['index']}-ours.safetensors"
    if args.against == "reference":
        references["head"].run(case, a, case["steps"])
        references["pin"].run(case, b, case["steps"] + 1)
        return compare.compare(compare.read(a), compare.read(b), {"sigmas", "timesteps"})
    references[case["generation"]].run(case, a, case["steps"])
    b.unlink(missing_ok=True)
    command = retake_command(case, args.retake, b)
    if args.only is not None:
        print(shlex.join(command))
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600)
    if done.returncode:
        raise RuntimeError(f"retake exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return compare.compare(compare.read(a), compare.read(b))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--stores", type=int, default=6, help="random configurations the cases share")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run this case alone")
    parser.add_argument("--head-python", default=sys.executable)
    parser.add_argument("--pin-python", required=True)
    parser.add_argument("--retake", type=Path, default=HERE.parent / "bin" / "retake")
    parser.add_argument("--against", choices=["retake", "reference"], default="retake")
    parser.add_argument("--work", type=Path, required=True, help="scratch folder; stores are kept there for the next run")
    parser.add_argument("--keep", action="store_true", help="keep the traces of cases that pass")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    stores = make_stores(args.work, args.stores, args.seed)
    references = {name: Reference(python, args.work / f"{name}.log") for name, python in (("head", args.head_python), ("pin", args.pin_python))}
    results, start = [], time.time()
    with contextlib.ExitStack() as stack:
        for reference in references.values():
            stack.callback(reference.close)
        for index in [args.only] if args.only is not None else range(args.cases):
            case = make_case(index, args.seed, stores)
            try:
                rows = run_case(case, references, args)
                bad = [row for row in rows if not row[1]]
                worst = max(rows, key=lambda row: row[2])
                # The first stage that fails says where to look; later ones follow from it.
                verdict, text = ("FAIL", "; ".join(f"{name}: {what}" for name, _, _, what in bad[:2])) if bad else ("ok", f"{worst[0]} {worst[2]:.2g}")
            except (RuntimeError, subprocess.TimeoutExpired, OSError) as error:
                verdict, text = "FAIL", str(error)
            adapters = ", ".join(f"{about} x {multiplier}" for _, multiplier, about in case["lora"]) or "none"
            print(f"{verdict:4} {index:4} {Path(case['store']).parent.name} {case['generation']:4} {case['model']:14} {case['width']}x{case['height']} steps {case['steps']} "
                  f"g {case['guidance']:g} {case['prompt']}/{case['neg']} lora [{adapters}]: {text}", flush=True)
            results.append(case | {"verdict": verdict, "text": text})
            if verdict == "ok" and not args.keep:
                for file in args.work.glob(f"case{index}-*"):
                    file.unlink()
    failed = sum(result["verdict"] != "ok" for result in results)
    (args.work / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"{len(results) - failed} of {len(results)} cases passed in {time.time() - start:.0f} s")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
