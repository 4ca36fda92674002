"""Every script's --help begins with what the script does and ends with example commands."""

import importlib
import re

import pytest

import evaluate
import separate_feedforward
import separate_RNN

SCRIPTS = ("Data", "prepare_dataset", "make_demo_dataset", "package_submission")
RECIPE = ("average", "count", "fetch_music", "fetch_voices", "sing", "synthesise_voices")


@pytest.mark.parametrize("name", [*SCRIPTS, *RECIPE])
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


@pytest.mark.parametrize("script", [separate_RNN, separate_feedforward, evaluate])
@pytest.mark.parametrize("words", [["--keys", "3"], ["--keys=3"], ["--keys"]])
def test_old_names_of_options_are_errors_that_tell_the_new_one(script, words, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["song", *words])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.splitlines()[-1].endswith("error: --keys is called --tta now")
    assert "--keys" not in "".join(said.splitlines()[:-1])
