"""Files and folders are whole or absent; damaged records are noted and count as absent; one process a folder."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import NoneType

import pytest

from b2t_fairseq.common import files
from b2t_fairseq.common.errors import UserError, explain
from b2t_fairseq.common.files import (
    all_or_nothing,
    locked,
    read_record,
    read_records,
    replacing,
    write_atomically,
    write_record,
)

ROOT = Path(__file__).resolve().parents[2]
DAMAGED = ["", "[]", "null", '"x"', "3", "{", '{"a": 1', "[" * 100_000, '{"a":' * 100_000, "\x00", '{"seconds": null}']
DAMAGED += ['{"seconds": "3"}', '{"seconds": true}', '{"seconds": []}', '{"second": 3}']
WITHOUT_TORCH = """
import os, signal, sys, types
sys.modules['b2t_fairseq'] = package = types.ModuleType('b2t_fairseq')  # seconds less
package.__path__ = ['b2t_fairseq']
from pathlib import Path
from b2t_fairseq.common.files import all_or_nothing, locked, replacing
folder = Path(sys.argv[1])
"""


def child(code: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", WITHOUT_TORCH + code, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_file_is_replaced_at_the_end_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old" and temporary.parent == tmp_path
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["file"]
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["file"]


def test_a_kill_between_write_and_rename_leaves_the_old_content(tmp_path):
    (tmp_path / "file").write_text("old")
    code = """
with replacing(folder / 'file') as temporary:
    temporary.write_text('new')
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert child(code, tmp_path).wait(60) == -signal.SIGKILL
    assert (tmp_path / "file").read_text() == "old"


def test_two_threads_do_not_share_a_temporary_file(tmp_path, monkeypatch):
    with replacing(tmp_path / "file") as one:
        monkeypatch.setattr(files.threading, "get_native_id", lambda: 1)
        with replacing(tmp_path / "file") as other:
            assert one != other
            one.touch(), other.touch()


def test_what_cannot_be_written_is_named_as_the_user_named_it(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "file", tmp_path / "folder"):
        with pytest.raises(OSError) as error:
            files.write_atomically(path, "x")
        assert explain(error.value).startswith(f"{path}: ") and ".tmp" not in explain(error.value)
    assert os.listdir(tmp_path) == ["folder"]


def test_a_full_disk_is_one_line(tmp_path):
    for full in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with pytest.raises(UserError, match=f"^{tmp_path}/file: no space left"), replacing(tmp_path / "file"):
            raise OSError(full, "full")
    with pytest.raises(OSError, match="broken"), replacing(tmp_path / "file"):
        raise OSError(errno.EIO, "broken")


def test_a_folder_is_whole_or_absent(tmp_path):
    folder = tmp_path / "folder"
    with pytest.raises(RuntimeError), all_or_nothing(folder) as partial:
        (partial / "half").touch()
        raise RuntimeError
    assert not folder.exists()
    with all_or_nothing(folder) as partial:
        assert not any(partial.iterdir()), "nothing of the first attempt"
        (partial / "whole").touch()
        assert not folder.exists()
    assert os.listdir(folder) == ["whole"] and os.listdir(tmp_path) == ["folder"]
    with all_or_nothing(folder) as partial:
        (partial / "newer").touch()
        assert os.listdir(folder) == ["whole"]
    assert os.listdir(folder) == ["newer"] and os.listdir(tmp_path) == ["folder"]


def test_a_resumable_folder_keeps_what_a_kill_left(tmp_path):
    code = """
with all_or_nothing(folder / 'data', resumes=True) as partial:
    (partial / 'half').touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert child(code, tmp_path).wait(60) == -signal.SIGKILL
    assert not (tmp_path / "data").exists()
    with all_or_nothing(tmp_path / "data", resumes=True) as partial:
        assert os.listdir(partial) == ["half"]
    assert os.listdir(tmp_path / "data") == ["half"]


def test_one_process_a_folder_until_it_ends_however_it_ends(tmp_path):
    code = """
with locked(folder, 'test'):
    print('locked', flush=True)
    signal.pause()
"""
    process = child(code, tmp_path)
    try:
        assert process.stdout.readline() == "locked\n", process.communicate()[1]
        sentence = f"another test is working in {tmp_path}: .* another --data"
        with pytest.raises(UserError, match=sentence), locked(tmp_path, "test", "--data"):
            pytest.fail("two at a time")
    finally:
        process.kill()
        process.communicate()
    with locked(tmp_path, "test"):
        pass
    with locked(tmp_path, "test"):  # a lock that was left is free
        pass


def test_what_cannot_be_locked_is_not_said_to_be_in_use(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    sentence = f"--output {tmp_path}/file cannot be written .*: name another folder"
    with pytest.raises(UserError, match=sentence), locked(tmp_path / "file", "test"):
        pytest.fail("a file is not a folder")

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    with pytest.raises(UserError, match="cannot be locked .no locks available."), locked(tmp_path, "test"):
        pytest.fail("there are no locks")


def test_records_come_back(tmp_path):
    record = {"seconds": 1.5, "text": "ä\u2028", "name of a file": "\udc80.txt", "counts": {"lines": 3}}
    write_record(tmp_path / "r.json", record)
    assert read_record(tmp_path / "r.json", seconds=(int, float), counts=dict, missing=(str, NoneType)) == record
    assert read_record(tmp_path / "none.json") is None


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_record_counts_as_absent_and_a_note_says_so(tmp_path, capsys, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    assert read_record(path, seconds=(int, float)) is None
    note = capsys.readouterr().err
    assert note.startswith(f"note: {path} is damaged and ignored (") and note.count("\n") == 1 and len(note) < 300


def test_bytes_and_folders_are_damaged_records_too(tmp_path, capsys):
    (tmp_path / "r.json").write_bytes(b'{"a": "\xff"}')
    assert read_record(tmp_path / "r.json") is None and read_record(tmp_path) is None
    assert capsys.readouterr().err.count("is damaged and ignored (") == 2


def test_of_records_in_lines_the_damaged_ones_are_left_out(tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    assert read_records(path) == []
    path.write_bytes(b'{"a": 1}\n\n{"a": "x"}\n\xff\n' + b"[" * 100_000 + b'\n{"a": 2}\n{"a": ')
    assert read_records(path, a=int) == [{"a": 1}, {"a": 2}]
    notes = capsys.readouterr().err.splitlines()
    assert [note.split(", line ")[1].split()[0] for note in notes] == ["3", "4", "5", "7"]


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    """Neither a pipe nor a name in /dev for a file that is open, as /dev/stdout."""
    pipe, link = tmp_path / "pipe", tmp_path / "stdout"
    os.mkfifo(pipe)
    with open(tmp_path / "file", "w") as opened:
        link.symlink_to(f"/proc/self/fd/{opened.fileno()}")
        for path in (pipe, link, f"/dev/fd/{opened.fileno()}"):
            with pytest.raises(UserError, match=f"^{path}: no regular file"):
                write_atomically(path, "text")
    assert pipe.is_fifo() and link.is_symlink() and (tmp_path / "file").read_text() == ""
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "stdout", "file"}
