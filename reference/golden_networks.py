"""Copies what ai-toolkit itself drew with each kind of network to test/golden/networks.

  python3 reference/golden_networks.py PREVIEWS ADAPTER

PREVIEWS is as `golden_eras.py` takes it: jobs/NAME and truth/NAME, trained on demo/weights in float32. ADAPTER
is the small random LoRA that one of them names as its assistant_lora_path.
"""

import shutil
import sys
from pathlib import Path

from golden_eras import ROOT, record, write

VERSIONS = {"ai-toolkit": "27a03a91 (0.12.26)", "diffusers": "c943837899", "transformers": "5.5.3"}
JOBS = {
    # DoRA; norms and one adaLN_modulation by full_if_contains.
    "dora": ("t-dora", VERSIONS),
    # LoRA saved in f16, transformer_only off; norms, embedders, final layer and a refiner's matrix by full_if_contains.
    "full": ("t-full", VERSIONS),
    # Network type fullrank.
    "full-rank": ("t-fullrank", VERSIONS),
    # LoKr of low rank with a stored alpha, under the names of old_lokr_format; norms by full_if_contains.
    "lokr-old-names": ("t-lokr", VERSIONS),
}
# Turbo with a training adapter: the DoRA's lengths are of rows that it is merged into.
BESIDE = {"dora-beside-adapter": ("t-turbo-dora", VERSIONS)}
ADAPTER = "networks/training-adapter.safetensors"
# What 16 bits of a LoRA make of a picture.
ROUNDED = {f"networks/full-{index}.png": 4 for index in (0, 1)}

if __name__ == "__main__":
    previews, adapter = map(Path, sys.argv[1:])
    made_by = write(previews, "networks", {**JOBS, **BESIDE}, (0, 1), {1: (96, 64)}, (64, 64))
    shutil.copyfile(adapter, ROOT / ADAPTER)
    record("networks", {**made_by, ADAPTER: {}}, ROUNDED)
