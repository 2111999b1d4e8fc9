"""Child processes: what is done is not repeated, what fails does not stop the others, nothing outlives the parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from b2t_fairseq.experiments.jobs.progress import Display, History, sentence_counter, training_counter
from b2t_fairseq.experiments.jobs.runner import Chain, Command, run_chains

ROOT = Path(__file__).resolve().parents[2]
NOTE = "open('{}', 'a').write('x'); print('done')"


class Silent(Display):
    """Remembers what would have been shown."""

    def __init__(self):
        super().__init__(bars=False)
        self.said = []

    def say(self, text):
        self.said.append(text)


def command(folder: Path, name: str, code: str, **options) -> Command:
    return Command(name, [sys.executable, "-c", code], folder, name, **options)


def run(*chains: Chain, jobs: int = 2) -> list[str]:
    display = Silent()
    run_chains(chains, jobs, 1, display)
    return display.said


def test_a_second_run_repeats_nothing_and_a_changed_command_only_itself(tmp_path):
    def chain(second: str) -> Chain:
        first = command(tmp_path, "first", NOTE.format(tmp_path / "first.count"))
        return Chain("c", [first, command(tmp_path, "second", second, depends=first.fingerprint)])

    note = NOTE.format(tmp_path / "second.count")
    run(chain(note))
    said = run(chain(note))
    assert [text.split(",")[0] for text in said] == ["first: done before", "second: done before"]
    run(chain(note + " # changed"))
    assert len((tmp_path / "first.count").read_text()) == 1
    assert len((tmp_path / "second.count").read_text()) == 2


def test_what_an_interrupted_run_left_is_removed_first(tmp_path):
    made = tmp_path / "made"
    code = f"import pathlib; made = pathlib.Path({str(made)!r}); made.mkdir(); (made / 'done').touch()"
    made.mkdir()
    (made / "half").touch()
    (step,) = steps = [command(tmp_path, "step", code, makes=made)]
    for _ in range(2):  # the second time nothing is run, and nothing removed
        run(Chain("c", steps))
        assert step.outcome()["failure"] is None and [path.name for path in made.iterdir()] == ["done"]


def test_a_change_upstream_is_a_change_downstream(tmp_path):
    one = command(tmp_path, "one", "pass", depends="data a")
    other = command(tmp_path, "one", "pass", depends="data b")
    assert one.fingerprint != other.fingerprint


def test_a_failure_ends_its_chain_only_and_is_tried_again(tmp_path):
    def chains() -> list[Chain]:
        bad = command(tmp_path / "bad", "train", "import sys; sys.exit('error: the disk is full')")
        never = command(tmp_path / "bad", "never", NOTE.format(tmp_path / "never"))
        return [
            Chain("bad", [bad, never]),
            Chain("good", [command(tmp_path / "good", "train", NOTE.format(tmp_path / "good.count"))]),
        ]

    first, again = chains(), chains()
    run(*first)
    assert "the disk is full" in first[0].failure and first[1].failure is None
    assert not (tmp_path / "never").exists()
    said = run(*again)
    assert any(text.startswith("$ ") for text in said) and "good" not in "".join(t for t in said if t.startswith("$"))


def test_divergence_is_a_result_and_stays(tmp_path):
    code = "raise FloatingPointError('gradients are Nan/Inf')"
    chain, again = (Chain("post", [command(tmp_path, "train", code)]) for _ in range(2))
    run(chain)
    said = run(again)
    assert chain.failure == again.failure == "training failed (the loss or its gradient became NaN)"
    assert said[0].startswith("train: done before")


def test_an_interrupted_training_goes_on_and_keeps_its_log(tmp_path):
    """A fake trainer that counts to four in a file, and is killed at two the first time."""
    logged = '| INFO | train_inner | {"num_updates": "%d", "nll_loss": "3", "ppl": "8", "ups": "1"}'
    code = (
        "import os, pathlib, signal\n"
        f"state = pathlib.Path({str(tmp_path / 'state')!r})\n"
        "at = int(state.read_text()) if state.exists() else 0\n"
        "for update in range(at + 1, 5):\n"
        f"    print({logged!r} % update, flush=True)\n"
        "    state.write_text(str(update))\n"
        "    if update == 2 and at == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    first, again = (Chain("b2t", [command(tmp_path, "train", code, resumes=True)]) for _ in range(2))
    run(first)
    assert first.failure and not (tmp_path / "train.done").exists()
    run(again)
    assert again.failure is None
    assert sorted(History().read((tmp_path / "train.log").read_text().splitlines()).train) == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_the_parent(number, tmp_path):
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "import signal, sys, types; from pathlib import Path\n"
        "sys.modules['b2t_fairseq'] = package = types.ModuleType('b2t_fairseq')  # without torch: seconds less\n"
        "package.__path__ = ['b2t_fairseq']\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "from b2t_fairseq.experiments.jobs.runner import *\n"
        "from b2t_fairseq.experiments.jobs.progress import Display\n"
        f"command = Command('c', [sys.executable, '-c', {child!r}], Path({str(tmp_path)!r}), 'c')\n"
        "run_chains([Chain('c', [command])], 1, 1, Display())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    patience = time.monotonic() + 60
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < patience:
        time.sleep(0.1)
    pid = int((tmp_path / "pid").read_text())
    parent.send_signal(number)
    assert parent.wait(20) != 0
    while alive(pid) and time.monotonic() < patience:
        time.sleep(0.1)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_without_a_terminal_a_line_comes_every_ten_seconds(monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    display = Silent()
    display.open("train b2t", 100)
    for update in range(12):
        display.update("train b2t", update, "ppl 9")
    assert len(display.said) == 3  # 36 seconds
    assert display.said[0].startswith("train b2t: 3/100 after")


LOG = """2026-01-01 | INFO | fairseq_cli.train | num. shared model params: 1,234,567 (num. trained: 1,234,560)
2026-01-01 | INFO | train_inner | {"num_updates": "10", "loss": "9", "nll_loss": "8.0", "ppl": "256", "ups": "1.2"}
INFO:train_inner:{"num_updates": "20", "loss": "9", "nll_loss": "7.0", "ppl": "128", "ups": "1.2"}
2026-01-01 | INFO | valid | {"epoch": 1, "valid_loss": "7.5", "valid_nll_loss": "6.0", "valid_num_updates": "20"}
2026-01-01 | INFO | train_inner | {"num_updates": "20", "loss": "9", "nll_loss": "5.0", "ppl": "32", "ups": "1.2"}
2026-01-01 | INFO | train | {"epoch": 1, "train_loss": "7.5", "train_nll_loss": "6.0", "train_num_updates": "20"}
2026-01-01 | INFO | fairseq_cli.train | {'a': 'config'}
"""


def test_history_reads_the_log_of_a_language_model():
    """Its cross-entropy is written as the loss only."""
    lines = [line.replace('"nll_loss"', '"x"').replace('"valid_nll_loss"', '"x"') for line in LOG.splitlines()]
    history = History().read(lines)
    assert history.train == {10: 9.0, 20: 9.0} and history.valid == {20: 7.5}


def test_the_seconds_of_all_starts_count_and_not_those_between_them():
    """After a resume fairseq writes `"wall": "0"`: the times before the lines count."""
    start = " | INFO | fairseq_cli.train | num. shared model params: 10 (num. trained: 10)"
    update = ' | INFO | train_inner | {"num_updates": "10", "nll_loss": "8", "ppl": "256", "ups": "1.2", "wall": "0"}'
    first = [f"2026-01-01 23:59:{time}" for time in (f"10{start}", f"30{update}", f"50{update}")]
    second = [f"2026-01-02 08:00:{time}" for time in ("00 | INFO | imported", f"05{start}", f"12{update}")]
    assert History().read(first + second).seconds == 47
    assert History().read(second + [f"2026-01-02 07:00:20{update}", f"2026-01-02 07:00:30{update}"]).seconds == 17


def test_history_reads_fairseqs_log():
    history = History().read(LOG.splitlines())
    assert history.parameters == 1234560
    assert history.train == {10: 8.0, 20: 5.0} and history.valid == {20: 6.0}  # a repeated update counts once
    assert history.train_perplexity(updates=10) == 32 and history.valid_perplexity() == 64
    assert training_counter()(LOG.splitlines()) == (20, "ppl 32, 1.2 updates/s")
    count = sentence_counter()
    count(["D-0\t-1\ta", "H-0\t-1\ta"])
    assert count(["D-3\t-1\tb"])[0] == 2
