"""Which room imports which, thin scripts that stay thin, and what the separation scripts must not load."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

# A file or room imports only from floors below its own, and from its own room. Two rooms on one floor, and two files
# beside rooms, do not know each other.
FLOORS = (
    {"process"},
    {"sound"},
    {"util"},
    {"songs", "networks", "pictures"},
    {"Model"},
    {"Model_RNN"},
    {"Data", "separation"},
    {"training", "scoring"},
    {
        *("train_feedforward", "train_RNN", "separate_feedforward", "separate_RNN", "evaluate"),
        *("prepare_dataset", "make_demo_dataset", "package_submission"),
    },
)
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
ROOMS = sorted(name for name in HEIGHT if (ROOT / name).is_dir())
FILES = sorted(path.relative_to(ROOT) for room in ("", *ROOMS) for path in (ROOT / room).glob("*.py"))
THIN = ["train_feedforward", "train_RNN", "separate_feedforward", "separate_RNN"]


def tree(path: str | Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imported(nodes: list[ast.AST]) -> set[str]:
    modules = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.split(".")[0])
    return modules


def home(path: Path) -> str:
    """The room of a file, or the file itself, if it stands at the door."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def test_every_file_has_a_floor():
    assert {path.stem for path in ROOT.glob("*.py")} == HEIGHT.keys() - set(ROOMS)
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms == set(ROOMS), "a room that no floor names, or a floor without its room"


def upward(path: Path, source: str) -> set[str]:
    """What a file imports from its own floor or from above, but for its own room."""
    here = home(path)
    names = imported(list(ast.walk(ast.parse(source)))) & HEIGHT.keys()
    return {name for name in names if name != here and HEIGHT[name] >= HEIGHT[here]}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_lead_down(path):
    source = (ROOT / path).read_text()
    assert not upward(path, source)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    inside = [node for function in functions for node in ast.walk(function)]
    assert not imported(inside), "an import inside a function hides a cycle"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("sound/files.py", "from songs.song import Song"),  # upwards
        ("songs/song.py", "import networks.hearing"),  # next door
        ("util.py", "def f():\n    from training import loop"),  # hidden
        ("scoring/scores.py", "from training.loss import kl_divergence"),
        ("train_RNN.py", "import train_feedforward"),
    ],
)
def test_an_import_that_leads_up_is_seen(path, line):
    assert upward(Path(path), line)


def test_files_of_a_room_do_not_go_round_in_a_circle():
    """Within a room, too, files can be read in one order."""
    for room in ROOMS:
        files = {path.stem: path for path in FILES if home(path) == room and path.stem != "__init__"}
        needs = {}
        for name, path in files.items():
            nodes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom | ast.Import)]
            names = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
            names |= {
                f"{node.module}.{alias.name}"
                for node in nodes
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            needs[name] = {other for other in files if f"{room}.{other}" in names}
        graphlib.TopologicalSorter(needs).prepare()  # raises CycleError


@pytest.mark.parametrize("name", THIN)
def test_thin_scripts_are_thin(name):
    forbidden = (ast.For, ast.While, ast.ClassDef, ast.comprehension, ast.With, ast.Try)
    assert not [node for node in ast.walk(tree(f"{name}.py")) if isinstance(node, forbidden)]
    assert "torch" not in imported(list(ast.walk(tree(f"{name}.py"))))
    functions = [node for node in tree(f"{name}.py").body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == ["main"] and len(functions[0].body) == 1


def test_separation_loads_only_what_it_needs():
    scripts = ["separate_feedforward", "separate_RNN"]
    code = "import sys\n" + "".join(f"import {name}; print(*sys.modules)\n" for name in scripts)
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name, modules in zip(scripts, loaded.splitlines(), strict=True):
        assert not {"torchvision", "matplotlib", "mir_eval", "scipy"} & set(modules.split()), name


@pytest.mark.parametrize("name", ["train_feedforward", "train_RNN"])
@pytest.mark.parametrize("own", [None, "active"])
def test_the_way_threads_wait_is_set_before_torch_is_loaded(name, own):
    code = f"""
import os, sys
class Look:
    def find_spec(self, module, *more):
        if module == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))
            sys.exit()
sys.meta_path.insert(0, Look())
import {name}
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": own} if own else {}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == (own or "passive")
