"""Checks that the hub's Python tools find what `retake pull` has fetched, without a connection.

  bin/retake pull zimage --weights CACHE
  python reference/check_hub_cache.py CACHE [--pipeline]

Every file must be found by its name and be what its blob's name says; `--pipeline` loads the repositories
that are whole pipelines in diffusers. Exit status 1 on a failure.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cache", type=Path)
parser.add_argument("--pipeline", action="store_true")
args = parser.parse_args()
os.environ["HF_HUB_CACHE"] = str(args.cache.resolve())
os.environ["HF_HUB_OFFLINE"] = "1"

import huggingface_hub  # noqa: E402  (reads the variables above)
from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache  # noqa: E402


def hash_of(content: bytes, name: str) -> str:
    """As the hub names content: SHA-256, or Git's SHA-1 of a blob."""
    if len(name) == 64:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


found = scan_cache_dir()
# An old version takes the tag that a new one writes for a repository.
failures = [str(warning) for warning in found.warnings if "CACHEDIR.TAG" not in str(warning)]
for repository in found.repos:
    snapshot = Path(snapshot_download(repository.repo_id, local_files_only=True))
    files = [path for path in snapshot.rglob("*") if path.is_file()]
    for path in files:
        name = path.relative_to(snapshot).as_posix()
        if not isinstance(try_to_load_from_cache(repository.repo_id, name), str):
            failures.append(f"{repository.repo_id}: {name} is not found")
        elif hash_of(path.read_bytes(), blob := path.resolve().name) != blob:
            failures.append(f"{repository.repo_id}: {name} is not what its blob's name says")
    print(f"{repository.repo_id}: {len(files)} files")
    if args.pipeline and (snapshot / "model_index.json").exists() and (snapshot / "transformer").exists():
        from diffusers import DiffusionPipeline

        print(f"  loads as {type(DiffusionPipeline.from_pretrained(repository.repo_id)).__name__}")
print(f"huggingface_hub {huggingface_hub.__version__}: {len(failures)} failures")
print("\n".join(failures))
sys.exit(1 if failures or not found.repos else 0)
