"""Steps: all or nothing, skipped when done, made again when something changed, whole after a kill."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from b2t_fairseq import UserError
from b2t_fairseq.corpora.fetching.manifest import Manifest, Published
from b2t_fairseq.corpora.fetching.steps import counts_of, made_by, need_space, step


@pytest.fixture
def runs(tmp_path):
    """Runs a step and tells whether it worked."""

    def run(inputs=None, content="x", fail=None, **options):
        ran = []

        def work(folder):
            ran.append(sorted(path.name for path in folder.iterdir()))
            (folder / "a file").write_text(content)
            if fail:
                raise fail
            return {"lines": 1}

        step(Manifest(tmp_path / "out", "test"), "a step", inputs or {}, work, **options)
        return bool(ran)

    return run


def test_a_step_runs_once_and_again_when_inputs_or_files_change(runs, tmp_path):
    folder = tmp_path / "out" / "a step"
    assert runs({"option": 1}) and counts_of(folder) == {"lines": 1}
    first = made_by(folder)
    assert not runs({"option": 1})
    assert runs({"option": 2}) and made_by(folder) != first and not runs({"option": 2})
    (folder / "a file").write_text("longer")
    assert runs({"option": 2}) and (folder / "a file").read_text() == "x"
    (folder / "a file").unlink()
    assert runs({"option": 2}) and not runs({"option": 2})
    (tmp_path / "out" / "manifest.json").unlink()
    assert not runs({"option": 2})  # the folder knows itself what it is
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["steps"]["a step"]["counts"] == {"lines": 1}
    assert sorted(os.listdir(tmp_path / "out")) == ["a step", "manifest.json"]


def test_a_step_that_fails_leaves_the_old_result(runs, tmp_path):
    runs({"option": 1}, "old")
    with pytest.raises(RuntimeError):
        runs({"option": 2}, "new", fail=RuntimeError())
    assert (tmp_path / "out" / "a step" / "a file").read_text() == "old" and not runs({"option": 1})


def test_a_full_disk_is_one_sentence(runs, tmp_path):
    with pytest.raises(UserError, match="no space left.*the same command again"):
        runs(fail=OSError(errno.ENOSPC, "No space left on device"))
    assert not (tmp_path / "out" / "a step").exists() and runs()


def test_space_is_asked_for_before(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("u", "free")(5 * 10**9))
    need_space(tmp_path, 4 * 10**9, "it")
    with pytest.raises(UserError, match=r"needs 6\.0 GB and 5\.0 GB are free"):
        need_space(tmp_path, 6 * 10**9, "it")


def test_a_resumable_step_finds_what_it_left_but_not_what_another_left(runs, tmp_path):
    seen = []

    def work(folder):
        seen.append((folder / "half").exists())
        (folder / "half").write_text("")
        if len(seen) < 3:
            raise RuntimeError

    for inputs in ({"option": 1}, {"option": 1}, {"option": 2}):
        try:
            step(Manifest(tmp_path, "test"), "s", inputs, work, resumes=True)
        except RuntimeError:
            continue
    assert seen == [False, True, False]


def test_folders_of_others_are_left_alone(runs, tmp_path):
    (tmp_path / "out" / "a step").mkdir(parents=True)
    (tmp_path / "out" / "a step" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="not made by this command"):
        runs()
    assert (tmp_path / "out" / "a step" / "thesis.tex").exists()
    Manifest(tmp_path / "other", "wmt-ende").record("checks", "x", 1)
    with pytest.raises(UserError, match="another corpus"):
        Manifest(tmp_path / "other", "gigaword")


@pytest.mark.parametrize("number, agrees", [(4_500_966, True), (4_450_000, True), (4_449_999, False), (60, False)])
def test_published_counts_are_compared(tmp_path, capsys, number, agrees):
    manifest = Manifest(tmp_path, "test")
    assert manifest.check(Published("training pairs", 4_500_000, 50_000), number) is agrees
    told = capsys.readouterr().err
    assert (not told) if agrees else (f"{number:,}" in told and "4,500,000 (± 50,000)" in told)
    assert Manifest(tmp_path, "test").content["checks"] == {}  # of an earlier run; the next one makes its own
    assert json.loads(manifest.path.read_text())["checks"]["training pairs"]["agrees"] is agrees


def test_two_at_a_time_are_refused(tmp_path):
    one, other = Manifest(tmp_path, "test"), Manifest(tmp_path, "test")
    with one.locked(), pytest.raises(UserError, match="another preparation"), other.locked():
        pass
    with Manifest(tmp_path, "test").locked():
        pass


KILLED = """
import sys, time
from pathlib import Path
from b2t_fairseq.corpora.fetching.manifest import Manifest
from b2t_fairseq.corpora.fetching.steps import step

def work(folder):
    for number in range(1000):
        (folder / str(number)).write_text("x")
        time.sleep(0.02)

def quick(folder):
    (folder / "x").write_text("x")

with Manifest(sys.argv[1], "test").locked() as manifest:
    step(manifest, "first", {}, quick)
    step(manifest, "second", {}, work)
"""


@pytest.mark.slow
def test_a_kill_leaves_whole_steps_and_a_free_lock(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    until = time.monotonic() + 60
    while not any(tmp_path.glob("second.*.partial/20")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "first" / "x").exists() and not (tmp_path / "second").exists()
    with Manifest(tmp_path, "test").locked() as manifest:
        step(manifest, "first", {}, lambda folder: pytest.fail("was done"))
        step(manifest, "second", {}, lambda folder: (folder / "whole").write_text("x") and {})
    assert set(os.listdir(tmp_path / "second")) == {"whole", ".step.json"}


WRONG = ["", "[]", "null", '"x"', "{", "[" * 100_000, '{"fingerprint": null}', '{"fingerprint": [], "files": 3}']
WRONG += ['{"corpus": null}', '{"corpus": "test", "sources": [], "steps": null, "checks": 3}']
WRONG += ['{"corpus": "test", "sources": {"a": null, "b": {"sha256": 3}}, "steps": {"a step": []}}']


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_damaged_manifest_is_written_anew(runs, tmp_path, text):
    runs()
    (tmp_path / "out" / "manifest.json").write_text(text)
    assert not runs()  # the step's own record is whole
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert content["corpus"] == "test" and content["sources"] == {} and list(content["steps"]) == ["a step"]
    assert content["steps"]["a step"]["counts"] == {"lines": 1}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_step_with_a_damaged_record_is_made_again(runs, tmp_path, capsys, text):
    runs()
    (tmp_path / "out" / "a step" / ".step.json").write_text(text)
    assert counts_of(tmp_path / "out" / "a step") == {} and made_by(tmp_path / "out" / "a step") == ""
    assert "a step/.step.json is damaged and ignored" in capsys.readouterr().err
    assert runs() and counts_of(tmp_path / "out" / "a step") == {"lines": 1} and not runs()


def test_a_resumable_step_does_not_stumble_over_a_damaged_mark(tmp_path):
    left = tmp_path / "s.1.partial"
    left.mkdir()
    (left / ".step.json.begun").write_bytes(b"\xff\x00")
    step(Manifest(tmp_path, "test"), "s", {}, lambda folder: (folder / "x").touch(), resumes=True)
    assert not left.exists() and (tmp_path / "s" / "x").exists()
