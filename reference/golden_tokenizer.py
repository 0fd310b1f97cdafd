"""The part of Qwen3's tokenizer.json that the goldens need, so that no test needs the whole 11 MB.

A token of this vocabulary comes of one merge only, so the merges behind a token form one tree. With the trees of
every golden id kept, each golden text goes the same way as with all merges. The first merges, which are the
commonest, are kept as well: a text that is cut into the wrong pieces still finds wrong merges to take.
"""

import gzip
import json
from pathlib import Path

FIRST_MERGES = 20_000


def reduce(folder: Path, goldens: dict, out: Path) -> list[Path]:
    """Writes tokenizer.json.gz and tokenizer_config.json into `out`; token ids stay what they are."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    model = tokenizer["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    origin = {first + second: (first, second) for first, second in merges}
    assert len(origin) == len(merges), "a token comes of more than one merge"
    token_of = {number: token for token, number in model["vocab"].items()}

    ids = {number for part in goldens.values() for entry in part for number in entry["ids"]}
    kept = {first + second for first, second in merges[:FIRST_MERGES]}
    wanted = [token_of[number] for number in ids if number in token_of] + list(kept)
    while wanted:
        token = wanted.pop()
        kept.add(token)
        wanted.extend(part for part in origin.get(token, ()) if part not in kept)
    kept.update(token for token in model["vocab"] if token not in origin)  # the alphabet of bytes

    model["vocab"] = {token: number for token, number in model["vocab"].items() if token in kept}
    model["merges"] = [list(merge) for merge in merges if "".join(merge) in kept]
    out.mkdir(exist_ok=True)
    reduced = out / "tokenizer.json.gz"
    text = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    reduced.write_bytes(gzip.compress(text.encode(), mtime=0))
    config = out / "tokenizer_config.json"
    config.write_bytes((folder / "tokenizer_config.json").read_bytes())
    return [reduced, config]
