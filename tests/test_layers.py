"""Who may import whom: the table of the design, and no cycle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("vlad", "prompts", "finetune", "eval", "app")
BASE = {"types", "errors", "config", "device"}
LIBRARY = BASE | {
    "arrays", "background", "depth", "elsewhere", "place", "relations", "rules",
    "weights", "video", "readers", "activity", "ahead", "motion", "encoder", "cache", "scorers", "sight", "tubes", "objects", "tracks", "seen", "facts", "colours", "segments", "prompting", "explainers",
    "report", "wording", "clock", "pipeline", "library", "sim", "nano", "prompts", "cluster", "manifest", "together",
}  # fmt: skip
# config holds the numbers that video, encoder, scorers and explainers are built from; a model never sees it.
MAY: dict[str, set[str]] = {
    "types": set(),
    "arrays": {"errors"},
    "errors": set(),
    "config": {"errors"},
    "device": set(),
    "weights": {"errors", "config", "nano"},
    "video": BASE | {"readers"},
    "readers": {"types", "errors", "confine", "activity", "ahead"},
    "activity": set(),
    "ahead": set(),
    "confine": set(),
    "motion": {"types"},
    "sight": {"errors"},
    "tubes": {"errors"},
    "together": {"errors"},
    "objects": BASE | {"weights"},
    "tracks": {"types"},
    "seen": {"types", "tracks"},
    "colours": {"types"},
    "facts": {"types", "tracks", "colours"},
    "encoder": BASE | {"weights", "motion", "sight", "together", "tubes", "seen", "nano"},
    "cache": {"types", "errors"},
    "scorers": BASE | {"weights", "encoder", "segments", "nano"},  # mil averages over time as segments do
    "segments": {"types"},
    "safe_yaml": set(),
    "prompting": {"errors", "prompts", "rendering", "safe_yaml"},
    "rendering": {"errors"},
    "explainers": BASE | {"arrays", "weights", "prompting", "video", "sight", "nano", "wording"},
    "report": {"types", "errors", "wording", "tracks"},
    "pipeline": LIBRARY - {"pipeline", "sim", "library", "cluster", "manifest"},
    "cluster": {"errors", "pipeline"},
    "manifest": set(),
    "library": {"types", "errors", "wording", "clock", "rules", "segments"},
    "clock": {"errors"},
    "live": BASE
    | {
        "activity",
        "clock",
        "confine",
        "encoder",
        "library",
        "objects",
        "pipeline",
        "readers",
        "rules",
        "scorers",
        "seen",
        "video",
    },
    "wording": {"types"},
    "sim": {"types"},
    "nano": set(),
    "prompts": set(),
    "face": {"config", "errors", "pipeline", "types"},
    "looks": BASE | {"objects", "video"},
    "faces": BASE | {"objects", "weights"},
    "background": set(),
    "elsewhere": {"background", "config", "errors", "video"},
    "depth": BASE | {"weights"},
    "again": {"clock", "colours", "config", "errors", "tracks", "types", "video"},
    "relations": {"facts", "tracks", "types"},
    "place": {"types"},
    "rules": {"background", "errors", "facts", "place", "tracks", "types", "safe_yaml"},
    "movement": {"errors", "rules", "tracks", "types"},
    "anonymise": BASE | {"faces", "objects", "tracks", "video"},
    "doctor": BASE | {"weights", "pipeline", "readers", "confine"},
    "cli": {
        "face",
        "looks",
        "anonymise",
        "clock",
        "rules",
        "again",
        "movement",
        "place",
        "background",
        "errors",
        "config",
        "report",
        "weights",
        "sim",
        "doctor",
        "video",
        "demo",
        "library",
        "live",
        "wording",
        "cluster",
        "manifest",
        "pipeline",
    },
    "demo": {"face", "errors", "config", "segments", "sim", "types"},
    "__main__": {"cli"},
    "finetune": LIBRARY | {"face", "live"},
    "eval": LIBRARY | {"face", "again", "anonymise", "live", "movement"},
    "app": LIBRARY | {"face", "again", "anonymise", "live", "movement"},
}


def modules() -> dict[str, Path]:
    """Dotted name under vlad -> file, for every module of the tree."""
    found = {}
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = list(file.relative_to(ROOT).with_suffix("").parts)
            parts = parts[1:] if folder == "vlad" else parts
            found[".".join(["vlad", *parts])] = file
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return "face" if parts == ["vlad"] or parts[1] == "__init__" else parts[1]


def imports(module: str, file: Path, known: set[str]) -> set[str]:
    """Modules of vlad that `file` imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known or f"{inner}.__init__" in known else base)
    return {name for name in found if name == "vlad" or name.startswith("vlad.")}


def test_every_module_has_a_row() -> None:
    assert {room(module) for module in modules()} <= set(MAY)


def test_no_arrow_but_those_of_the_table() -> None:
    known = set(modules())
    wrong = [
        f"{module} imports {other}"
        for module, file in modules().items()
        for other in imports(module, file, known)
        if room(other) != room(module) and room(other) not in MAY[room(module)]
    ]
    assert wrong == []


def test_no_cycle() -> None:
    known = set(modules())
    graph = {}
    for module, file in modules().items():
        name = module.removesuffix(".__init__")
        graph[name] = imports(module, file, known) - {name}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError with the cycle
    assert set(graph) <= set(order)
