"""How many cores there are to use."""

import os

import pytest

from process.cores import cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no process is given fewer cores here")
def test_cores_that_are_another_processs_do_not_count(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7})
    assert cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == 64
