"""Several workers: none trains another model than the others, and none waits for ever for another."""

import argparse
import json
import logging
import os
import signal
import socket
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from fairseq import options
from fairseq.distributed import utils as distributed_utils
from omegaconf import OmegaConf

from b2t_fairseq import cli
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.patches.additions import worker_watch
from b2t_fairseq.patches.additions.lost_worker import connection_lost
from b2t_fairseq.patches.additions.worker_agreement import arguments, data_facts, difference
from b2t_fairseq.patches.additions.worker_watch import Watch, said_by_worker


def test_no_difference():
    assert difference([{"--lr": "[0.1]", "signature": "x"}] * 3) is None


def test_a_difference_is_named_with_its_ranks():
    line = difference([{"--lr": "1", "--seed": "1"}, {"--lr": "2", "--seed": "3"}, {"--lr": "1", "--seed": "1"}])
    assert "--lr is 1 on ranks 0, 2, 2 on rank 1 (also different: --seed)" in line and "\n" not in line


def test_what_one_rank_lacks_is_a_difference():
    assert "--clip is nothing on rank 0, 1 on rank 1" in difference([{}, {"--clip": "1"}])


@pytest.mark.parametrize(
    "group, name, value",
    [
        ("optimization", "lr", [0.2]),
        ("common", "seed", 2),
        ("model", "connection", "post"),
        ("checkpoint", "save_dir", "b"),
    ],
)
def test_arguments_that_matter(group, name, value):
    def cfg():
        model = argparse.Namespace(connection="b2t", device_id=0, lr=[0.1])
        groups = {"optimization": {"lr": [0.1]}, "common": {"seed": 1, "log_interval": 1}, "model": model}
        return OmegaConf.create({**groups, "checkpoint": {"save_dir": "a"}}, flags={"allow_objects": True})

    one, other = cfg(), cfg()
    other.common.log_interval, other.model.device_id = 100, 1  # may differ
    assert arguments(one) == arguments(other)
    if group == "model":
        setattr(other.model, name, value)
    elif name == "lr":
        other.optimization.lr, other.model.lr = value, value
    else:
        other[group][name] = value
    assert difference([arguments(one), arguments(other)]).startswith(
        f"the workers would train different models: --{name.replace('_', '-')} is "
    )


def test_arguments_are_the_real_ones():
    """Of a real command line: everything that decides what is trained is compared."""
    command = ["data", "--arch", "transformer_b2t_6_6", "--task", "translation", "--criterion", "cross_entropy"]
    parser = options.get_training_parser()
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    found = arguments(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, command)))
    assert {"--connection", "--lr", "--seed", "--max-tokens", "--update-freq", "--optimizer", "--fp16", "--dropout",
            "--clip-norm", "--criterion", "--save-interval-updates", "--validate-interval"} <= found.keys()  # fmt: skip
    assert not {"--distributed-rank", "--device-id", "--num-workers"} & found.keys()


def test_data():
    def task(*sizes):
        class Dataset(list):
            pass

        dataset = Dataset(sizes)
        dataset.sizes = sizes
        return SimpleNamespace(datasets={"train": dataset})

    assert data_facts(task(3, 4))["the data of 'train'"].startswith("2 examples of 7 tokens")
    assert difference([data_facts(task(3, 4)), data_facts(task(3, 4))]) is None
    for other in (task(3, 5), task(3, 4, 1), task(4, 3)):
        assert "the data of 'train'" in difference([data_facts(task(3, 4)), data_facts(other)])


# -- who is to blame, without waiting for it --

LIMIT, GENEROUS = 300, worker_watch.GENEROUS


def watch(*records: dict, heard=(), advanced=0.0, exchanged=0.0) -> Watch:
    """A view at time 0; `heard`: how long ago each rank was heard."""
    view = Watch.__new__(Watch)
    view.limit, view.rank, view.size, view.exchanged = LIMIT, 0, len(records), -exchanged
    usual = {"host": "h", "pid": 1, "slow": False, "starting": False, "steps": 5}
    ages = heard or [0.0] * len(records)
    view.heard = {rank: (-ages[rank], {**usual, **record}) for rank, record in enumerate(records)}
    view.advanced, view.updated = (-advanced, None), False
    return view


@pytest.mark.parametrize(
    "view, blamed",
    [
        (watch({}, {}), None),
        (watch({}, {}, heard=(0, LIMIT - 1)), None),
        (watch({}, {}, heard=(0, LIMIT + 1)), [1]),
        (watch({}, {"slow": True}, heard=(0, LIMIT + 1)), [1]),  # saving, but not even its thread answers
        (watch({}, {"starting": True}, heard=(0, LIMIT + 1)), [1]),  # stopped right after its first update
        (watch({"starting": True}, {"starting": True}, heard=(0, LIMIT + 1)), None),
        (watch({"starting": True}, {"starting": True}, heard=(0, GENEROUS + 1)), [1]),
        (watch({}, {"steps": 4}, advanced=LIMIT + 1), [1]),  # it lives, but hangs
        (watch({}, {}, advanced=LIMIT + 1), []),
        (watch({"slow": True}, {}, advanced=LIMIT + 1), None),  # rank 0 saves, the others wait
        (watch({"slow": True}, {}, advanced=GENEROUS + 1), []),
        (watch({}, {}, exchanged=LIMIT + 1), [0]),  # it holds the store
    ],
)
def test_blame(view, blamed, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    verdict = view.verdict(0.0)
    assert verdict is None if blamed is None else verdict[0] == blamed


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "a", "1801"])
def test_times_that_are_refused(text):
    with pytest.raises(UserError, match=f"--distributed-timeout {text}"):
        worker_watch.seconds(text)


def test_the_ends_of_others():
    assert connection_lost(RuntimeError("[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1"))
    assert not connection_lost(RuntimeError("shape mismatch")) and not connection_lost(BrokenPipeError("Broken pipe"))
    trace = "\n\n-- Process 1 terminated with the following error:\nTraceback\n"
    trace += "b2t_fairseq.common.errors.UserError: a: b\n"
    assert said_by_worker(trace) == "a: b" and said_by_worker("Traceback\nValueError: x") is None


def test_a_worker_that_starts_later_is_known_soon(monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    store = torch.distributed.HashStore()
    view = Watch(LIMIT, store)
    time.sleep(0.2)
    torch.distributed.PrefixStore("b2t/watch", store).set("1", json.dumps({"host": "h", "pid": 7, "steps": 0}))
    deadline = time.monotonic() + view.interval / 2
    while view.heard[1][1] is None and time.monotonic() < deadline:
        time.sleep(0.05)
    view.stop()
    assert view._name(1) == "rank 1 (h, process 7)"


# -- two real workers; forked, so that nothing is imported again --


def fork(action) -> int:
    child = os.fork()
    if child == 0:
        try:
            os._exit(action() or 0)
        except SystemExit as leaving:
            os._exit(leaving.code)
        finally:
            os._exit(99)
    return child


class Workers:
    def __init__(self, training, folder, monkeypatch, **extra):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        meeting = ["--distributed-world-size", "2", "--distributed-no-spawn", "--distributed-backend", "gloo"]
        meeting += ["--distributed-init-method", f"tcp://localhost:{port}", "--distributed-timeout", "4"]
        command = [*training, *meeting, "--save-dir", str(folder / "saved"), "--no-save", "--disable-validation"]
        self.logs = [folder / f"{rank}.log" for rank in (0, 1)]
        self.children = []
        for rank in (0, 1):
            own = ["--distributed-rank", str(rank), *extra.get(f"rank{rank}", ())]
            self.children.append(fork(lambda rank=rank, own=own: self.main(rank, [*command, *own])))

    def main(self, rank: int, command: list[str]) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        log = os.open(self.logs[rank], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
        logging.basicConfig(force=True, stream=sys.stdout, level=logging.INFO)
        return cli.main(command)

    def wait_for(self, text: str, rank: int = 0):
        deadline = time.monotonic() + 60
        while not (self.logs[rank].exists() and text in self.logs[rank].read_text()):
            assert time.monotonic() < deadline, [log.read_text()[-2000:] for log in self.logs]
            time.sleep(0.05)

    def status(self, rank: int, within: float = 40) -> int:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            ended, status = os.waitpid(self.children[rank], os.WNOHANG)
            if ended:
                self.children[rank] = None
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        raise AssertionError(f"rank {rank} still runs: {self.logs[rank].read_text()[-2000:]}")

    def errors(self) -> list[str]:
        lines = [line for log in self.logs for line in log.read_text().splitlines()]
        assert not [line for line in lines if "Traceback" in line]
        return [line for line in lines if line.startswith("error: ")]

    def end(self):
        for child in filter(None, self.children):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.fixture
def workers(training, tmp_path, monkeypatch):
    started = []

    def start(*common, **extra):
        started.append(Workers([*training, *common], tmp_path, monkeypatch, **extra))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.mark.slow
@pytest.mark.parametrize("option, value", [("--connection", "post"), ("--lr", "0.1"), ("--seed", "9")])
def test_a_different_worker_is_refused(workers, option, value):
    pair = workers("--max-update", "3", rank1=[option, value])
    assert (pair.status(0), pair.status(1)) == (2, 2)
    (line,) = pair.errors()
    assert "the workers would train different models: " in line and option in line and "on rank 1" in line


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [1, 0])
def test_a_stopped_worker_ends_the_training(workers, stopped):
    pair = workers("--max-update", "1000000", "--log-interval", "1")
    pair.wait_for("num_updates")
    os.kill(pair.children[stopped], signal.SIGSTOP)
    since = time.monotonic()
    assert pair.status(1 - stopped) == worker_watch.STATUS
    assert time.monotonic() - since < 4 + 10  # the time allowed, and a machine under load
    (line,) = pair.errors()
    assert f"rank {stopped}" in line and "4 seconds" in line
    assert f"process {pair.children[stopped]}" in line and pair.status(stopped) == -signal.SIGKILL


@pytest.mark.slow
def test_equal_workers_train_to_the_end_and_leave_no_thread(workers):
    pair = workers("--max-update", "3")
    assert (pair.status(0), pair.status(1)) == (0, 0) and pair.errors() == []


def test_workers_end_with_torchrun(tmp_path, monkeypatch):
    """Killed by SIGKILL it cannot end them itself."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    reading, writing = os.pipe()

    def worker():
        common = {"tpu": False, "cpu": True}
        one = {"distributed_world_size": 1, "distributed_init_method": None, "distributed_backend": "gloo"}
        cfg = OmegaConf.create(
            {
                "common": common,
                "model": None,
                "distributed_training": {**one, "tpu": False, "pipeline_model_parallel": False},
            }
        )
        for name in ("MASTER_ADDR", "WORLD_SIZE"):
            os.environ.pop(name, None)
        distributed_utils.call_main(cfg, lambda cfg: (os.write(writing, f"{os.getpid()}\n".encode()), time.sleep(60)))

    torchrun = fork(lambda: (fork(worker), time.sleep(60)))
    os.close(writing)  # so that a worker that fails ends the reading
    pid = int(os.read(reading, 100))
    os.kill(torchrun, signal.SIGKILL)
    os.waitpid(torchrun, 0)
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return  # ended; nobody has asked for its status
        except FileNotFoundError:
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the worker outlived torchrun")
