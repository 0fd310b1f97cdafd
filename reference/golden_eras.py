"""Copies what ai-toolkit itself drew in each era of its training previews to test/golden/eras.

  python3 reference/golden_eras.py PREVIEWS

PREVIEWS holds jobs/NAME, folders as ai-toolkit left them at the commits below, trained on
demo/weights in float32, and truth/NAME: samples.json (what the pipeline was handed) and each
preview before it was encoded, as PNG. Of every era some pictures of the finished LoRA are taken:
sizes that are no multiples, multipliers, guidance below and above 1, few steps.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "test" / "golden"
JOBS = {
    "preview-0.7.6": ("e1-flags", {"ai-toolkit": "4e62c38d (0.7.6)", "diffusers": "6bf668c4d2", "transformers": "4.57.3"}),
    "preview-0.7.25": ("e2-flags", {"ai-toolkit": "859635e9 (0.7.25)", "diffusers": "072d15ee42", "transformers": "4.57.3"}),
    "preview-0.9.14": ("e3-flags", {"ai-toolkit": "ef57c107 (0.9.14)", "diffusers": "dc8d903217", "transformers": "5.5.3"}),
    "preview-0.10.21": ("e4-flags", {"ai-toolkit": "6233efe1 (0.10.21)", "diffusers": "dc8d903217", "transformers": "5.5.3"}),
    "preview-0.10.25": ("e5-flags", {"ai-toolkit": "4f5974ff (0.10.25)", "diffusers": "c943837899", "transformers": "5.5.3"}),
}
SAMPLES = (1, 2, 3, 4, 6, 7)
# By sample, what its configuration asks for once it is floored to 8 and at least 64.
ASKED = {1: (216, 248), 3: (96, 64), 7: (176, 144)}
USUAL = (160, 128)


def write(previews: Path, name: str, jobs: dict, chosen: tuple, asked: dict, usual: tuple) -> dict:
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cases, made_by = {}, {}
    for era, (job, versions) in jobs.items():
        truth = previews / "truth" / job
        samples = json.loads((truth / "samples.json").read_text())
        last = max(sample["step"] for sample in samples)
        shutil.copyfile(previews / "jobs" / job / f"{job}.safetensors", folder / f"{era}.safetensors")
        made_by[f"{era}.safetensors"] = versions
        cases[era] = []
        for sample in samples:
            if sample["step"] != last or sample["index"] not in chosen:
                continue
            picture = f"{era}-{sample['index']}.png"
            shutil.copyfile(truth / Path(sample["file"]).with_suffix(".png").name, folder / picture)
            made_by[picture] = versions
            width, height = asked.get(sample["index"], usual)
            cases[era].append({
                "picture": picture, "width": width, "height": height,
                **{key: sample[key] for key in ("prompt", "negative", "seed", "steps", "multiplier", "sigmas", "updates")},
                "guidance": sample["sample_guidance"], "handed": sample["pipeline_guidance"],
                "drawn": [sample["width"], sample["height"]],
            })
    (folder / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
    made_by["cases.json"] = {}
    return {f"{name}/{file}": versions for file, versions in made_by.items()}


def dtype(path: Path) -> str:
    if path.suffix != ".safetensors":
        return {".json": "json", ".png": "u8"}[path.suffix]
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return next(entry["dtype"] for name, entry in header.items() if name != "__metadata__").lower()


def record(folder: str, made_by: dict, atol: dict) -> None:
    """`atol`: in 8-bit steps of a picture, 1 where a file has no other."""
    manifest = ROOT / "manifest.json"
    entries = {name: entry for name, entry in json.loads(manifest.read_text()).items() if not name.startswith(f"{folder}/")}
    for name, versions in made_by.items():
        entries[name] = {
            "what": "previews that ai-toolkit drew in training, before they were encoded, and the LoRAs that it saved beside them",
            "reference": {"recorded": versions},
            "dtype": dtype(ROOT / name),
            "sha256": hashlib.sha256((ROOT / name).read_bytes()).hexdigest(),
            "atol": atol.get(name, 1) if name.endswith(".png") else 0, "rtol": 0,
        }
    manifest.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")


if __name__ == "__main__":
    record("eras", write(Path(sys.argv[1]), "eras", JOBS, SAMPLES, ASKED, USUAL), {})
