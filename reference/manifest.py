"""The manifest of the golden files: what each is, who made it, its hash, how near is near enough. The tests read it."""

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "test" / "golden"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(
    path: Path, what: str, dtype: str, atol: float, rtol: float, tensors: dict | None = None, *, generation: str, versions: dict
) -> None:
    """
    One file's entry. rtol is of a tensor's largest absolute value; `tensors` are exceptions, by a
    tensor's name or by what stands behind its last dot.
    """
    manifest = ROOT / "manifest.json"
    entries = json.loads(manifest.read_text()) if manifest.exists() else {}
    name = path.relative_to(ROOT).as_posix()
    reference = entries.get(name, {}).get("reference", {})
    reference[generation] = versions
    entries[name] = {"what": what, "reference": reference, "dtype": dtype, "sha256": sha256(path), "atol": atol, "rtol": rtol}
    if tensors is not None:
        entries[name]["tensors"] = tensors
    manifest.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n")
