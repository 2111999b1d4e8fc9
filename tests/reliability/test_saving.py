"""Nothing is lost when a checkpoint is saved: it is whole, or all that was there stays."""

import errno
import os
import random
import resource
import signal
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager
from fairseq.logging import meters

from b2t_fairseq import average_checkpoints
from b2t_fairseq.checkpoints import integrity
from b2t_fairseq.common.errors import UserError

RANDOM = random.Random(5)


def state(number: int, size: int = 50_000) -> dict:
    weights = torch.randn(size, generator=torch.Generator().manual_seed(number))
    return {"model": {"w": weights}, "extra_state": {"number": number}}


def number_in(path) -> int:
    """Which state a file holds; it must hold all of it."""
    loaded = torch.load(path, weights_only=True)
    number = loaded["extra_state"]["number"]
    assert torch.equal(loaded["model"]["w"], state(number)["model"]["w"])
    return number


class Disk:
    """A disk on which, from now on, `room` bytes can be written in each of so many tries, and all after them."""

    def __init__(self, monkeypatch, room: int, tries: float, error: int = errno.ENOSPC):
        self.room, self.tries, self.error = room, tries, error
        monkeypatch.setattr(integrity, "open", self.open, raising=False)

    def open(self, path, mode="rb"):
        file = open(path, mode)  # noqa: SIM115 (closed below)
        if "x" not in mode:
            return file
        self.tries -= 1
        left, write = [self.room if self.tries >= 0 else 1 << 40], file.write

        def limited(content):
            left[0] -= len(content)
            if left[0] < 0:
                write(content[: len(content) // 2])
                raise OSError(self.error, os.strerror(self.error))
            return write(content)

        proxy = SimpleNamespace(write=limited, flush=file.flush, fileno=file.fileno)

        class Context:
            def __enter__(self):
                return proxy

            def __exit__(self, *error):
                file.close()

        return Context()


class Run:
    """fairseq's own `save_checkpoint` with a trainer that holds one number."""

    checkpoint_suffix, data_parallel_rank, should_save_checkpoint_on_current_rank = "", 0, True

    def __init__(self, folder: Path, **options):
        self.cfg = CheckpointConfig(save_dir=str(folder), save_interval_updates=5, **options)
        self.task = None

    def consolidate_optimizer(self):
        pass

    def get_num_updates(self):
        return self.updates

    def save_checkpoint(self, filename, extra_state):
        whole = state(self.updates)
        whole["extra_state"].update(extra_state)
        asynchronous = self.cfg.write_checkpoints_asynchronously
        checkpoint_utils.torch_persistent_save(whole, filename, async_write=asynchronous)
        return filename

    def save(self, updates: int):
        self.updates = updates
        iterator = SimpleNamespace(epoch=1, end_of_epoch=lambda: False, state_dict=dict)
        checkpoint_utils.save_checkpoint(self.cfg, self, iterator, 1.0 / updates)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, keep_interval_updates=1)


def names(folder) -> list[str]:
    return sorted(os.listdir(folder))


THREE = ["checkpoint_1_5.pt", "checkpoint_best.pt", "checkpoint_last.pt"]


def test_a_saved_file_is_one_of_torch_with_the_digest_as_comment(tmp_path):
    integrity.write(state(1), tmp_path / "ours.pt")
    with open(tmp_path / "stock.pt", "wb") as file:  # given a path, torch writes its name into the archive
        torch.save(state(1), file)
    ours, stock = (tmp_path / "ours.pt").read_bytes(), (tmp_path / "stock.pt").read_bytes()
    assert len(ours) == len(stock) + integrity.COMMENT
    assert number_in(tmp_path / "ours.pt") == 1
    assert torch.load(tmp_path / "ours.pt", weights_only=True, mmap=True)["extra_state"]["number"] == 1
    with zipfile.ZipFile(tmp_path / "ours.pt") as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"b2t-sha256:")
    assert integrity.check(tmp_path / "ours.pt") and not integrity.check(tmp_path / "stock.pt")


def test_every_changed_bit_shows(tmp_path):
    integrity.write(state(1, size=100), tmp_path / "c.pt")
    content = (tmp_path / "c.pt").read_bytes()
    places = [*range(64), *range(len(content) - 200, len(content)), *RANDOM.sample(range(len(content)), 100)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << RANDOM.randrange(8)
        (tmp_path / "c.pt").write_bytes(changed)
        with pytest.raises(integrity.DamagedCheckpointError, match=r"c\.pt: the checkpoint is damaged"):
            integrity.check(tmp_path / "c.pt")


def test_all_names_of_a_save_are_whole_and_apart(run, tmp_path):
    run.save(5), run.save(10)
    assert names(tmp_path) == ["checkpoint_1_10.pt", "checkpoint_best.pt", "checkpoint_last.pt"]
    assert len({(tmp_path / name).read_bytes() for name in names(tmp_path)}) == 1
    assert len({(tmp_path / name).stat().st_ino for name in names(tmp_path)}) == 3  # damage to one is not in the others
    assert all(number_in(tmp_path / name) == 10 for name in names(tmp_path))


@pytest.mark.parametrize("tries", [1, 2])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_passing_error_leaves_whole_files(run, tmp_path, monkeypatch, tries, error):
    run.save(5)
    Disk(monkeypatch, room=90_000, tries=tries, error=error)
    run.save(10)
    assert names(tmp_path) == ["checkpoint_1_10.pt", "checkpoint_best.pt", "checkpoint_last.pt"]
    assert [number_in(tmp_path / name) for name in names(tmp_path)] == [10, 10, 10]
    assert all(integrity.check(tmp_path / name) for name in names(tmp_path))


@pytest.mark.parametrize(
    "error, text", [(errno.ENOSPC, "no space left"), (errno.EDQUOT, "quota"), (errno.EFBIG, "large")]
)
def test_a_full_disk_keeps_what_was_there(run, tmp_path, monkeypatch, error, text):
    run.save(5)
    Disk(monkeypatch, room=90_000, tries=100, error=error)
    with pytest.raises(UserError, match=rf"checkpoint_1_10\.pt: not saved: {os.strerror(error).lower()};"):
        run.save(10)
    assert names(tmp_path) == THREE
    assert [number_in(tmp_path / name) for name in THREE] == [5, 5, 5]


def test_a_copy_that_fails_is_named_and_nothing_is_deleted(run, tmp_path, monkeypatch):
    run.save(5)
    write = integrity.write

    def write_then_full(*args):
        write(*args)
        Disk(monkeypatch, room=90_000, tries=100)

    monkeypatch.setattr(integrity, "write", write_then_full)
    with pytest.raises(UserError, match=r"checkpoint_best\.pt: not saved: no space left"):
        run.save(10)
    assert [number_in(tmp_path / name) for name in ["checkpoint_1_10.pt", *THREE]] == [10, 5, 5, 5]


def test_what_reads_differently_is_not_taken(tmp_path, monkeypatch):
    integrity.write(state(1), tmp_path / "c.pt")

    class Lossy:
        def __init__(self, file):
            self.file = file

        def write(self, content):
            return self.file.write(bytes(len(content)) if len(content) > 1000 else content)

    dump = integrity.dump
    monkeypatch.setattr(integrity, "dump", lambda whole, file: dump(whole, Lossy(file)))
    with pytest.raises(UserError, match=r"c\.pt: not saved: what was written reads differently"):
        integrity.write(state(2), tmp_path / "c.pt")
    assert names(tmp_path) == ["c.pt"] and number_in(tmp_path / "c.pt") == 1


def test_file_and_folder_are_synced_before_anything_is_deleted(run, tmp_path, monkeypatch):
    run.save(5)
    events = []
    fsync, replace, remove = os.fsync, os.replace, os.remove
    monkeypatch.setattr(os, "fsync", lambda f: (events.append("sync " + os.readlink(f"/proc/self/fd/{f}")), fsync(f)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(f"name {Path(b).name}"), replace(a, b)))
    monkeypatch.setattr(os, "remove", lambda a: (events.append(f"delete {Path(a).name}"), remove(a)))
    run.save(10)
    for place, name in enumerate(["checkpoint_1_10.pt", "checkpoint_best.pt", "checkpoint_last.pt"]):
        file, renamed, folder = events[3 * place : 3 * place + 3]
        assert (
            file.startswith(f"sync {tmp_path}/{name}.") and renamed == f"name {name}" and folder == f"sync {tmp_path}"
        )
    assert events[9:] == ["delete checkpoint_1_5.pt"]


def in_a_child(action) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except UserError as error:
            os._exit(3 if "checkpoint_1_10.pt: not saved: file too large" in str(error) else 4)
        finally:
            os._exit(5)
    return child


def test_a_limit_of_the_system(run, tmp_path):
    """RLIMIT_FSIZE, a real write error in the middle of the file."""
    run.save(5)

    def save():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        run.save(10)

    assert os.waitstatus_to_exitcode(os.waitpid(in_a_child(save), 0)[1]) == 3
    assert names(tmp_path) == THREE and [number_in(tmp_path / name) for name in THREE] == [5, 5, 5]


def test_killed_at_random_moments(run, tmp_path):
    run.save(5)

    def save_for_ever():
        for updates in range(10, 100_000, 5):
            run.save(updates)

    for _ in range(12):
        child = in_a_child(save_for_ever)
        time.sleep(RANDOM.uniform(0.005, 0.12))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        whole = [path for path in tmp_path.iterdir() if path.suffix == ".pt"]
        assert {path.name for path in whole} >= {"checkpoint_last.pt", "checkpoint_best.pt"} and len(whole) >= 3
        for path in whole:
            number_in(path), integrity.check(path)
    integrity.remove_leftovers(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))


def test_leftovers_of_a_living_process_stay(tmp_path):
    with integrity.replacing(tmp_path / "checkpoint1.pt") as temporary:
        temporary.write_bytes(b"half")
        (tmp_path / "checkpoint2.pt.tmp").write_bytes(b"stock fairseq's, of yesterday")
        os.utime(tmp_path / "checkpoint2.pt.tmp", (1, 1))
        integrity.remove_leftovers(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [temporary.name]


def test_asynchronous_saves_are_whole_too(tmp_path, monkeypatch):
    run = Run(tmp_path, keep_interval_updates=1, write_checkpoints_asynchronously=True)
    run.save(5), run.save(10), run.save(15)
    PathManager.async_close()
    kept = ["checkpoint_1_10.pt", "checkpoint_1_15.pt"]  # one more than asked for; 5 may wait for the next save
    assert set(kept) <= set(names(tmp_path)) <= {*kept, "checkpoint_1_5.pt"}
    assert [number_in(tmp_path / name) for name in kept] == [10, 15]
    Disk(monkeypatch, room=90_000, tries=100)
    run.save(20)
    with pytest.raises(UserError, match=r"checkpoint_1_20\.pt: not saved: no space left"):
        PathManager.async_close()
    assert [number_in(tmp_path / name) for name in names(tmp_path)] == [10, 15]  # whole, and 5 deleted by now


def test_averages_are_saved_whole(tmp_path, monkeypatch):
    average_checkpoints.save(state(1), tmp_path / "new" / "average.pt")
    assert integrity.check(tmp_path / "new" / "average.pt") and number_in(tmp_path / "new" / "average.pt") == 1
    Disk(monkeypatch, room=90_000, tries=100)
    with pytest.raises(UserError, match=r"average\.pt: not saved: no space left"):
        average_checkpoints.save(state(2), tmp_path / "new" / "average.pt")
    assert number_in(tmp_path / "new" / "average.pt") == 1 and names(tmp_path / "new") == ["average.pt"]


def test_meters_are_saved_as_plain_numbers_and_calculate_as_before(tmp_path):
    kept = meters.AverageMeter()
    kept.update(np.array([3, 4]), n=2), kept.update(np.array([1, 0]))
    metrics = {"valid": [(10, "counts", "AverageMeter", kept.state_dict())]}
    whole = {"model": {}, "extra_state": {"metrics": metrics, "val_loss": np.float64(1.5), "best": np.float32(0.25)}}
    checkpoint_utils.torch_persistent_save(whole, str(tmp_path / "c.pt"))
    with torch.serialization.safe_globals([]):
        assert not torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "c.pt")
    extra = torch.load(tmp_path / "c.pt", weights_only=True)["extra_state"]
    assert (extra["val_loss"], extra["best"]) == (1.5, 0.25) and type(extra["best"]) is float
    resumed = meters.AverageMeter()
    resumed.load_state_dict(extra["metrics"]["valid"][0][3])
    for meter in (kept, resumed):
        meter.update(np.array([1, 1]))
    assert resumed.sum.tolist() == kept.sum.tolist() == [8, 9] and resumed.avg.tolist() == kept.avg.tolist()
    assert isinstance(whole["extra_state"]["best"], np.float32)  # the training keeps its own


@pytest.mark.slow
def test_a_training_on_a_full_disk_ends_in_one_line(training, here, trained, monkeypatch):
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    Disk(monkeypatch, room=1000, tries=100)
    resume = [*training, "--save-dir", trained, "--keep-interval-updates", "1", "--max-update", "8"]
    output = here(*resume, status=2)
    assert "Traceback" not in output and output.count("error:") == 1 and "ERROR" not in output
    assert f"error: {trained}/checkpoint_1_8.pt: not saved: no space left on device" in output.replace("_2_8", "_1_8")
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before
