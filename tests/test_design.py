"""Who imports whom, thin scripts that stay thin, and what the separation scripts must not load."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IMPORTS = {
    "stopping": set(),
    "errors": {"stopping"},
    "locking": {"errors"},
    "sound": {"errors"},
    "util": {"errors", "sound"},
    "stem_files": {"errors", "streams"},
    "songs": {"errors", "sound", "stem_files", "util"},
    "layouts": {"errors", "streams", "songs", "sound", "stem_files"},
    "inspection": {"errors", "layouts", "songs"},
    "effects": {"util"},
    "hearing": {"util"},
    "Data": {"effects", "errors", "inspection", "hearing", "layouts", "songs", "util"},
    "encoders": set(),
    "Model": {"encoders"},
    "Model_RNN": {"encoders", "Model"},
    "loss": set(),
    "parallel": {"errors"},
    "plots": {"errors", "util"},
    "training": {"errors", "util", "songs", "Data", "loss", "parallel", "plots"},
    "training_command": {
        *("encoders", "errors", "util", "layouts", "locking", "parallel", "songs", "Data", "training"),
    },
    "streams": {"errors", "sound"},
    "separation": {"errors", "hearing", "util"},
    "stems": {"errors", "streams", "separation", "sound", "util"},
    "separation_command": {"errors", "hearing", "streams", "separation", "sound", "stems", "stopping", "util"},
    "bss_eval": set(),
    "threads": set(),
    "train_feedforward": {"threads", "training_command", "Model"},
    "train_RNN": {"threads", "training_command", "Model", "Model_RNN"},
    "separate_feedforward": {"separation_command", "Model"},
    "separate_RNN": {"separation_command", "Model_RNN"},
    "listening_page": {"errors", "util"},
    "systems": {"errors", "util", "layouts", "songs", "separation", "Model", "Model_RNN"},
    "scores": {"errors", "stopping", "songs", "bss_eval", "systems", "listening_page"},
    "summary": set(),
    "evaluation_report": {"errors", "util", "songs", "systems", "scores", "summary", "plots", "listening_page"},
    "evaluate": {
        *("errors", "hearing", "util", "layouts", "locking", "songs", "separation"),
        *("systems", "scores", "evaluation_report", "listening_page"),
    },
    "package_submission": {"errors", "Model", "Model_RNN", "separation", "sound", "util"},
    "make_demo_dataset": {"errors", "util"},
    "prepare_dataset": {"errors", "inspection", "layouts", "locking", "songs", "sound", "util"},
}
THIN = [name for name in IMPORTS if name.startswith(("train_", "separate_"))]


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / f"{name}.py").read_text())


def imported(nodes: list[ast.AST]) -> set[str]:
    modules = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    return modules


def test_every_file_is_in_the_graph():
    assert {path.stem for path in ROOT.glob("*.py")} == IMPORTS.keys()


@pytest.mark.parametrize("name", IMPORTS)
def test_import_graph(name):
    assert imported(tree(name).body) & IMPORTS.keys() == IMPORTS[name]
    functions = [node for node in ast.walk(tree(name)) if isinstance(node, ast.FunctionDef)]
    inside = [node for function in functions for node in ast.walk(function)]
    assert not imported(inside), "an import inside a function hides a cycle"


@pytest.mark.parametrize("name", THIN)
def test_thin_scripts_are_thin(name):
    forbidden = (ast.For, ast.While, ast.ClassDef, ast.comprehension, ast.With, ast.Try)
    assert not [node for node in ast.walk(tree(name)) if isinstance(node, forbidden)]
    assert "torch" not in imported(list(ast.walk(tree(name))))
    functions = [node for node in tree(name).body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == ["main"] and len(functions[0].body) == 1


@pytest.mark.parametrize("name", ["separate_feedforward", "separate_RNN"])
def test_separation_loads_only_what_it_needs(name):
    code = f"import sys, {name}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torchvision", "matplotlib", "mir_eval", "scipy"} & set(loaded.split())


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
