"""Turns ONNX Runtime's published list of kernels into the data file that `test/kernel-table.test.ts` holds graphs to.

  python reference/kernel_table.py OperatorKernels.md --runtime 1.30.0 --commit COMMIT > test/kernel-table.json

OperatorKernels.md is docs/OperatorKernels.md of microsoft/onnxruntime. Kept are facts about CUDA and DirectML: of
each operator below its parameters, and of each kernel the versions of the operator and the element types that it
takes. The versions of the operators themselves come from the `onnx` package. What no graph of opset 21 to 23 can
match is left out.
"""

import argparse
import json
import re
from pathlib import Path

import onnx

OPSETS = (21, 22, 23)
PROVIDERS = {"CUDAExecutionProvider": "cuda", "DmlExecutionProvider": "dml"}
DOMAINS = {"ai.onnx": "", "com.microsoft": "com.microsoft."}
# What Retake's graphs use, and near relations that a change of theirs may use.
OPERATORS = """
Add BitShift BitwiseAnd Cast Clip Concat Conv Div Exp Expand Gather Gemm Identity InstanceNormalization
LayerNormalization MatMul Max Mul Neg Pad RMSNormalization ReduceMax ReduceMean ReduceSum ReduceSumSquare Reshape Resize
Shape Sigmoid SimplifiedLayerNormalization Slice Softmax Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where
com.microsoft.MatMulNBits com.microsoft.MultiHeadAttention com.microsoft.RotaryEmbedding
""".split()
# The document's names and those of src/onnx/graph.ts; no graph has another type.
TYPES = {
    "float": "f32", "double": "f64", "float16": "f16", "bfloat16": "bf16", "int8": "i8", "int32": "i32",
    "int64": "i64", "uint8": "u8", "bool": "bool", "float8e4m3fn": "f8e4m3", "float8e5m2": "f8e5m2",
}  # fmt: skip


def definitions(operator: str) -> list[int]:
    """In which opsets an operator was defined anew. The runtime's own have one definition."""
    return sorted(
        schema.since_version
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.name == operator and schema.since_version <= max(OPSETS)
    ) or [1]


def parameters(cell: str) -> list[dict[str, list[str]]]:
    """One entry for each way in which an operator's versions name their inputs and outputs."""
    forms = []
    for form in cell.split("<br><br>or<br><br>"):
        sides: dict[str, list[str]] = {"in": [], "out": []}
        for side, kind in re.findall(r"\*(in|out)\* [^:]+:\*\*([^*]+)\*\*", form):
            fixed = re.fullmatch(r"tensor\((\w+)\)", kind)
            sides[side].append(TYPES[fixed[1]] if fixed else kind)
        forms.append(sides)
    return forms


def types(cell: str) -> dict[str, str]:
    found = {}
    for name, listed in re.findall(r"\*\*(\w+)\*\* = ([^<]+)", cell):
        names = re.findall(r"(?<!\()tensor\((\w+)\)", listed)
        found[name] = " ".join(sorted(TYPES[name] for name in names if name in TYPES))
    return found


def version_range(cell: str) -> tuple[int, int | None]:
    numbers = [int(number) for number in re.findall(r"\d+", cell)]
    return (numbers[0], None) if cell.endswith("+") else (numbers[0], numbers[-1])


def in_force(operator: str) -> set[int]:
    """The definitions that graphs of these opsets mean."""
    known = definitions(operator)
    return {max((version for version in known if version <= opset), default=known[0]) for opset in OPSETS}


def kernels(document: str) -> dict[str, dict]:
    tables: dict[str, dict] = {short: {} for short in PROVIDERS.values()}
    table, domain, operator, forms = None, None, "", []
    for line in document.splitlines():
        if heading := re.match(r"## Operators implemented by (\w+)", line):
            table, domain = tables.get(PROVIDERS.get(heading[1], "")), None
        elif section := re.match(r"\|\*\*Operator Domain:\*\* \*([\w.]+)\*", line):
            domain = DOMAINS.get(section[1])
        elif table is not None and domain is not None and line.count("|") == 5:
            name, form, versions, constraints = line.strip("\n").split("|")[1:5]
            if name:
                operator, forms = domain + name, parameters(form)
            if operator not in OPERATORS or not re.search(r"\d", versions):
                continue
            first, last = version_range(versions)
            # A kernel without an end takes that one definition only: KernelRegistry, VerifyVersion.
            if not any(first == since or (last is not None and first <= since <= last) for since in in_force(operator)):
                continue
            entry = table.setdefault(operator, {"parameters": forms, "versions": []})
            entry["versions"].append({"from": first, "to": last, "types": types(constraints)})
    return tables


def compact(table: dict) -> str:
    """One line for each operator."""
    lines = ["{"]
    for key in ("runtime", "source", "onnx"):
        lines.append(f"  {json.dumps(key)}: {json.dumps(table[key])},")
    lines.append(f'  "definitions": {{\n{rows(table["definitions"], 4)}\n  }},')
    providers = (f"    {json.dumps(name)}: {{\n{rows(own, 6)}\n    }}" for name, own in table["kernels"].items())
    return "\n".join([*lines, '  "kernels": {', ",\n".join(providers), "  }", "}"])


def rows(entries: dict, indent: int) -> str:
    return ",\n".join(f"{' ' * indent}{json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path)
    parser.add_argument("--runtime", required=True, help="version of ONNX Runtime that the tests run")
    parser.add_argument("--commit", required=True, help="of microsoft/onnxruntime, of the document")
    args = parser.parse_args()
    tables = kernels(args.document.read_text())
    table = {
        "runtime": args.runtime,
        "source": f"docs/OperatorKernels.md of microsoft/onnxruntime at {args.commit}",
        "onnx": onnx.__version__,
        "definitions": {operator: definitions(operator) for operator in OPERATORS},
        "kernels": tables,
    }
    print(compact(table))


if __name__ == "__main__":
    main()
