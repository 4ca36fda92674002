"""Every script's --help begins with what the script does and ends with example commands; options given twice add up."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from helpers import ROOT

import evaluate
import separate_feedforward
import separate_RNN
import train_feedforward
from process.commandline import named_path
from process.errors import UserError

SCRIPTS = ("Data", "prepare_dataset", "make_demo_dataset", "package_submission", "choose_power", "label_songs")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_begins_with_the_purpose_and_ends_with_examples(name, capsys):
    script = importlib.import_module(name)
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    purpose = script.__doc__.partition("\n")[0]
    assert purpose.endswith(".") and text.partition("\n\n")[2].startswith(purpose + "\n\n")
    examples = text.partition("\nexamples:\n")[2].splitlines()
    assert len(examples) >= 2 and any(f"{name}.py" in line for line in examples)
    assert all(re.match(r"  (python|pip) \S", line) for line in examples)


@pytest.mark.parametrize("words", [["a", "b\nc", "--bitrate", "8"], ["a", "--b\nc"]])
def test_an_error_takes_one_line_whatever_names_are_in_it(words, capsys):
    with pytest.raises(SystemExit) as stop:
        separate_RNN.main(words)
    *usage, error = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and ": error: " in error and ": error: " not in "".join(usage)


@pytest.mark.parametrize("script", [separate_RNN, separate_feedforward, evaluate, train_feedforward])
@pytest.mark.parametrize("words", [[""], ["song.wav", ""], ["songs", "--output", ""], ["songs", "--output="]])
def test_an_empty_argument_is_no_folder(script, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        script.main(words)
    assert stop.value.code == 2 and "expected no empty argument, found '" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", [separate_RNN, separate_feedforward, evaluate])
@pytest.mark.parametrize("words", [["--keys", "3"], ["--keys=3"], ["--keys"]])
def test_old_names_of_options_are_errors_that_tell_the_new_one(script, words, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["song", *words])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.splitlines()[-1].endswith("error: --keys is called --tta now")
    assert "--keys" not in "".join(said.splitlines()[:-1])


ONE_VALUE = {"--equalizer"}  # of one or two numbers: given again, it is another value


def options_of_several_values() -> dict[str, ast.Call]:
    """The calls that add an option of any number of values to a parser, by the option's name and its file."""
    found = {}
    for path in ROOT.rglob("*.py"):
        if not any(part.startswith(".") or part == "tests" for part in path.relative_to(ROOT).parts):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            for call in calls:
                nargs = next((ast.unparse(word.value) for word in call.keywords if word.arg == "nargs"), "")
                name = next((str(own.value) for own in call.args if isinstance(own, ast.Constant)), "")
                if nargs in ("'+'", "'*'") and name.startswith("--") and name not in ONE_VALUE:
                    found[f"{path.relative_to(ROOT)} {name}"] = call
    return found


def test_an_option_of_several_values_given_twice_adds_up():
    """And begins empty: a default would be added to."""
    found = options_of_several_values()
    assert {"evaluate.py --checkpoint", "evaluate.py --estimates", "songs/dataset.py --hold-out"} < found.keys()
    for name, call in found.items():
        words = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert words.get("action") == "'extend'" and words.get("default", "[]") == "[]", name


def test_a_named_path_is_not_empty(tmp_path, monkeypatch):
    """As in NAME=$FOLDER, where the variable is not set: it would be the current folder."""
    monkeypatch.chdir(tmp_path)
    assert named_path("a=b=c") == ("a", Path("b=c")) and named_path("b") == ("", Path("b"))
    with pytest.raises(UserError, match="expected NAME=PATH, found 'a=': is a variable not set"):
        named_path("a=")
    Path("a=").touch()
    assert named_path("a=") == ("", Path("a="))
