"""Copies what ai-toolkit itself drew with each kind of network to test/golden/networks.

  python3 reference/golden_networks.py PREVIEWS

PREVIEWS is as `golden_eras.py` takes it: jobs/NAME and truth/NAME, trained on demo/weights in float32.
"""

import sys
from pathlib import Path

from golden_eras import record, write

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
# What 16 bits of a LoRA make of a picture.
ROUNDED = {f"networks/full-{index}.png": 4 for index in (0, 1)}

if __name__ == "__main__":
    record("networks", write(Path(sys.argv[1]), "networks", JOBS, (0, 1), {1: (96, 64)}, (64, 64)), ROUNDED)
