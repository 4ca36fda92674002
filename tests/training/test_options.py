"""The options of the training scripts: their names, and what they make of a command line."""

import pytest

import train_feedforward
import train_RNN
from Model import FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from training.options import parse_options


def parsed(*argv: str):
    return parse_options(RecurrentNetwork, "", ["songs", *argv], FeedforwardNetwork)


def refused(capsys, *argv: str) -> str:
    """What is said of a wrong command line."""
    with pytest.raises(SystemExit) as stop:
        parsed(*argv)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1].partition("error: ")[2]


@pytest.mark.parametrize(
    ("script", "old", "new"),
    [
        (train_RNN, "--memory", "--hidden-size"),
        (train_RNN, "--keep", "--cache"),
        (train_feedforward, "--keep", "--cache"),
    ],
)
@pytest.mark.parametrize("words", ["{} 7", "{}=7", "{}"])
def test_old_names_are_errors_that_tell_the_new_one(script, old, new, words, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["songs", *(word.format(old) for word in words.split())])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.splitlines()[-1].endswith(f"error: {old} is called {new} now")
    assert f"{old} " not in "".join(said.splitlines()[:-1])


def test_new_names():
    options = parsed("--hidden-size", "96", "--cache", "50")
    assert (options.hidden_size, options.cache) == (96, 50)
    assert parsed("--lr", "0.5").learning_rate == parsed("--learning-rate", "0.5").learning_rate == 0.5


def test_options_of_several_values_given_twice_add_up():
    left = "--mix", "a=1", "--leave-out", "x", "--leave-out", "y", "z"
    options = parsed("--hold-out", "a", "b", "--hold-out", "c", *left)
    assert (options.hold_out, options.leave_out) == (["a", "b", "c"], ["x", "y", "z"])
    assert parsed("--mix", "a=1", "--mix", "b=2", "c=3").mix == [("a", 1), ("b", 2), ("c", 3)]
    none = parsed()
    assert none.hold_out == none.leave_out == none.mix == []


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--remix 0.5", "--plain trains with --remix 0.0: leave --remix out"),
        ("--lr 1e-3", "--plain trains with --learning-rate 0.0001: leave --learning-rate out"),
        ("--speed 0.9 1.1", "--plain trains with --speed 1.0 1.0: leave --speed out"),
        ("--encoder bands", "--plain trains with --encoder dense: leave --encoder out"),
        ("--bfloat16", "--plain trains without --bfloat16: leave --bfloat16 out"),
        ("--mix a=1", "--plain trains without --mix: leave --mix out"),
        ("--voices folder", "--plain trains without --voices: leave --voices out"),
    ],
)
def test_plain_excludes_what_it_is_not(typed, told, capsys):
    assert refused(capsys, "--plain", *typed.split()) == told


def test_plain_is_the_courses_settings():
    options = parsed("--plain", "--lr", "1e-4", "--speed", "1", "1")
    assert (options.learning_rate, options.weight_decay, options.dropout, options.encoder) == (1e-4, 0, 0, "dense")
    assert (options.remix, options.transpose, options.effects, options.equalizer) == (0, 0, 0, [0, 0])
    assert not parsed().plain and parsed().learning_rate == 1e-3
