"""Songs to separate, and separate_RNN.py run in a folder of their own."""

import pytest

import separate_RNN


@pytest.fixture
def run(trained, tmp_path, monkeypatch, capsys):
    """Run separate_RNN.py in tmp_path; returns what it said on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, status: int = 0, main=separate_RNN.main) -> str:
        capsys.readouterr()
        assert main([str(word) for word in argv] + ["--checkpoint", str(trained / "savedModel_RNN_best.pt")]) == status
        out, said = capsys.readouterr()
        assert out == ""
        return said

    return run
