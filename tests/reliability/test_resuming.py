"""Nothing is lost when a training resumes: from whole files only, and never from scratch beside checkpoints."""

import os
import random
import shutil

import pytest
import torch

from b2t_fairseq.checkpoints import integrity, resuming
from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.common.errors import UserError

RANDOM = random.Random(7)


def emptied(content: bytearray) -> bytes:
    return b""


def zeroed(content: bytearray) -> bytes:
    return bytes(len(content))


def cut(content: bytearray) -> bytes:
    return content[: RANDOM.randrange(1, len(content))]


def cut_at_the_end(content: bytearray) -> bytes:
    return content[:-1]


def without_its_beginning(content: bytearray) -> bytes:
    return bytes(1024) + content[1024:]


def without_its_end(content: bytearray) -> bytes:
    return content[:-1024] + bytes(1024)


def with_a_hole(content: bytearray) -> bytes:
    start = len(content) // 3
    return content[:start] + bytes(4096) + content[start + 4096 :]


def with_a_flipped_bit(content: bytearray) -> bytes:
    content[RANDOM.randrange(len(content))] ^= 1 << RANDOM.randrange(8)
    return content


def text(content: bytearray) -> bytes:
    return b"404 not found\n"


DAMAGES = [emptied, zeroed, cut, cut_at_the_end, without_its_beginning, without_its_end, with_a_hole,
           with_a_flipped_bit, text]  # fmt: skip
SEEN_WITHOUT_DIGEST = [d for d in DAMAGES if d not in (cut_at_the_end, with_a_hole, with_a_flipped_bit)]


def damage(path, how):
    path.write_bytes(how(bytearray(path.read_bytes())))


def save(path, updates: int, epoch: int = 1, write=integrity.write):
    iterator = {"epoch": epoch, "iterations_in_epoch": updates}
    weights = torch.randn(20_000, generator=torch.Generator().manual_seed(updates))
    history, extra = [{"num_updates": updates}], {"train_iterator": iterator}
    write({"model": {"w": weights}, "optimizer_history": history, "extra_state": extra}, path)


@pytest.fixture(params=["ours", "stock"])
def folder(tmp_path, request):
    """Updates 5 to 20; the names are not in the order of the updates. Also as stock fairseq writes it."""
    write = integrity.write if request.param == "ours" else torch.save
    for name, updates, epoch in (("checkpoint_1_5", 5, 1), ("checkpoint1", 10, 1), ("checkpoint_2_15", 15, 2)):
        save(tmp_path / f"{name}.pt", updates, epoch, write)
    shutil.copyfile(tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_best.pt")
    save(tmp_path / "checkpoint_last.pt", 20, 2, write)
    save(tmp_path / "average.pt", 30)  # not of a training
    return tmp_path


def test_the_last_one_if_it_is_whole(folder):
    assert resuming.choose(folder) == (str(folder / "checkpoint_last.pt"), None)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_last_one_is_named_and_the_newest_whole_one_is_used(folder, how, request):
    if "stock" in request.node.callspec.id and how not in SEEN_WITHOUT_DIGEST:
        pytest.skip("only a digest shows this")
    damage(folder / "checkpoint_last.pt", how)
    path, note = resuming.choose(folder)
    assert path == str(folder / "checkpoint_2_15.pt")
    assert f"{folder}/checkpoint_last.pt" in note and f"resuming from {path} (update 15)" in note and "\n" not in note
    damage(folder / "checkpoint_2_15.pt", how)
    assert load_checkpoint(resuming.choose(folder).path)["optimizer_history"][-1]["num_updates"] == 10
    damage(folder / "checkpoint1.pt", how), damage(folder / "checkpoint_best.pt", how)
    assert resuming.choose(folder).path == str(folder / "checkpoint_1_5.pt")
    damage(folder / "checkpoint_1_5.pt", how)
    with pytest.raises(UserError, match=r"checkpoint_last\.pt.*none of the other checkpoints in .* is whole") as error:
        resuming.choose(folder)
    assert "\n" not in str(error.value)


def test_a_missing_last_one(folder):
    (folder / "checkpoint_last.pt").unlink()
    path, note = resuming.choose(folder)
    assert path == str(folder / "checkpoint_2_15.pt") and "checkpoint_last.pt is missing; resuming from" in note


@pytest.mark.parametrize("name", ["checkpoint_best.pt", "checkpoint.best_bleu_12.3450.pt", "checkpoint3.pt"])
def test_any_one_alone(tmp_path, name):
    save(tmp_path / name, 5)
    assert resuming.choose(tmp_path).path == str(tmp_path / name)


def test_nothing_there_is_a_start(tmp_path):
    save(tmp_path / "average.pt", 5)
    assert resuming.choose(tmp_path) is None and resuming.choose(tmp_path / "new") is None


@pytest.mark.parametrize("how", DAMAGES)
def test_loading_a_damaged_file_is_one_line(tmp_path, how):
    from fairseq import checkpoint_utils

    save(tmp_path / "c.pt", 5)
    damage(tmp_path / "c.pt", how)
    for load in (load_checkpoint, checkpoint_utils.load_checkpoint_to_cpu, checkpoint_utils.load_ema_from_checkpoint):
        with pytest.raises(UserError, match=r"c\.pt") as error:
            load(str(tmp_path / "c.pt"))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("how", [without_its_beginning, zeroed, cut])
def test_loading_a_damaged_file_of_stock_fairseq_is_one_line(tmp_path, how):
    from fairseq import checkpoint_utils

    save(tmp_path / "c.pt", 5, write=torch.save)
    damage(tmp_path / "c.pt", how)
    with pytest.raises(UserError, match=r"c\.pt"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "c.pt"))


def test_a_pickle_that_is_cut_inside_an_archive_is_one_line(tmp_path):
    """A stock file whose end is whole: torch itself has to refuse it."""
    from fairseq import checkpoint_utils

    save(tmp_path / "c.pt", 5, write=torch.save)
    content = bytearray((tmp_path / "c.pt").read_bytes())
    start = content.index(b"\x80\x02")
    content[start : start + 64] = b"\xff" * 64
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"c\.pt"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "c.pt"))
    with pytest.raises(UserError, match="none of the other"):
        os.rename(tmp_path / "c.pt", tmp_path / "checkpoint1.pt")
        resuming.choose(tmp_path)


def weights_after(folder):
    return load_checkpoint(folder / "checkpoint_last.pt")["model"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [with_a_flipped_bit, None])
def test_a_training_resumes_from_the_newest_whole_one(training, here, trained, folder_of_6, tmp_path, how):
    """And comes to the same weights, bit for bit, as one that was not interrupted."""
    for name in ("checkpoint_last.pt", "checkpoint_best.pt", *(p.name for p in trained.glob("checkpoint_*_6.pt"))):
        damage(trained / name, how) if how else (trained / name).unlink()
    output = here(*training, "--save-dir", trained, "--max-update", "8")
    (fourth,) = trained.glob("checkpoint_*_4.pt")
    assert output.count(f"resuming from {fourth} (update 4)") == 1
    whole = shutil.copytree(folder_of_6, tmp_path / "whole")
    here(*training, "--save-dir", whole, "--max-update", "8")
    resumed, expected = weights_after(trained), weights_after(whole)
    assert resumed.keys() == expected.keys() and all(torch.equal(resumed[n], expected[n]) for n in expected)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--restore-file", "--finetune-from-model"])
def test_a_file_to_start_from_must_be_one(training, here, trained, tmp_path, option):
    start = [*training, "--save-dir", tmp_path / "new", "--max-update", "8"]
    damage(trained / "checkpoint_best.pt", cut)
    for given, why in ((trained / "checkpoint_lst.pt", "no such file"), (trained, "this is a folder"),
                       (trained / "checkpoint_best.pt", "damaged")):  # fmt: skip
        output = here(*start, option, given, status=2)
        (line,) = [line for line in output.splitlines() if line.startswith("error:")]
        assert str(given) in line and why in line and option in line
    assert not list((tmp_path / "new").glob("*.pt"))


@pytest.mark.slow
def test_other_commands_name_a_damaged_file(data, here, trained):
    damage(trained / "checkpoint_last.pt", with_a_flipped_bit)
    last = trained / "checkpoint_last.pt"
    for command in (
        ["generate", data, "--path", last, "--cpu", "--max-tokens", "400"],
        ["validate", data, "--path", last, "--cpu", "--max-tokens", "400"],
        ["average-checkpoints", "--inputs", last, "--output", trained / "average.pt"],
    ):
        output = here(*command, status=2)
        (line,) = [line for line in output.splitlines() if line.startswith("error:")]
        assert line.startswith(f"error: {last}: the checkpoint is damaged")
