"""What is needed of the trainer's job folders to test how they are planned: no picture, no weight.

    python3 reference/job_plans.py PREVIEWS test/jobs/plans

PREVIEWS has jobs/NAME, as ai-toolkit wrote them, and truth/NAME/samples.json: what its pipeline was handed.
"""

import json
import struct
import sys
from pathlib import Path

PREVIEWS, OUT = Path(sys.argv[1]), Path(sys.argv[2])
TRUTH = {
    "file": "file",
    "prompt": "prompt",
    "negative": "negative",
    "width": "width",
    "height": "height",
    "steps": "steps",
    "updates": "updates",
    "seed": "seed",
    "multiplier": "multiplier",
    "guidance": "sample_guidance",
    "handed": "pipeline_guidance",
}


def header(path):
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))


def lora(path):
    entries = header(path)
    metadata = entries.pop("__metadata__")
    dtypes = sorted({entry["dtype"] for entry in entries.values()})
    return {"file": path.name, "metadata": metadata, "dtypes": dtypes}


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


OUT.mkdir(parents=True, exist_ok=True)
for job in sorted((PREVIEWS / "jobs").iterdir()):
    truth = json.loads((PREVIEWS / "truth" / job.name / "samples.json").read_text())
    plan = {
        "config": (job / "config.yaml").read_text(),
        "loras": [lora(path) for path in sorted(job.glob("*.safetensors"))],
        "samples": names(job / "samples"),
        "thumbnails": names(job / "samples" / ".thumbs"),
        "truth": [{ours: entry[theirs] for ours, theirs in TRUTH.items()} for entry in truth],
    }
    (OUT / f"{job.name}.json").write_text(json.dumps(plan, ensure_ascii=False) + "\n")
