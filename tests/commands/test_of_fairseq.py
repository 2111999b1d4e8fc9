"""fairseq's commands under our name: the user directory that they are given."""

import pytest
from omegaconf import OmegaConf

import b2t_fairseq
from b2t_fairseq.commands import of_fairseq
from b2t_fairseq.common.errors import UserError

HOME = b2t_fairseq.__path__[0]


@pytest.mark.parametrize(
    "given, filled",
    [
        (["bin", "--arch", "x"], ["bin", "--arch", "x", f"--user-dir={HOME}"]),
        (["bin", "--user-dir", HOME], ["bin", f"--user-dir={HOME}"]),
        (["--user-dir=" + HOME, "bin"], [f"--user-dir={HOME}", "bin"]),
        (["--user-dir", HOME + "/../b2t_fairseq/", "bin"], [f"--user-dir={HOME}", "bin"]),
        (["--user-dir", "b2t_fairseq"], [f"--user-dir={HOME}"]),
    ],
)
def test_user_dir_is_filled_in_or_respelled(given, filled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert of_fairseq.fill_user_dir(given) == filled


@pytest.mark.parametrize("form", ["--user-dir {}", "--user-dir={}"])
def test_a_symlink_to_this_package_is_this_package(form, tmp_path):
    (tmp_path / "b2t_fairseq").symlink_to(HOME)
    (tmp_path / "plugin").symlink_to(HOME)
    for name in ("b2t_fairseq", "plugin"):
        assert of_fairseq.fill_user_dir(form.format(tmp_path / name).split()) == [f"--user-dir={HOME}"]


def test_the_users_own_directory_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    assert of_fairseq.fill_user_dir(["--user-dir", str(tmp_path / "mine")]) == [f"--user-dir={tmp_path / 'mine'}"]


def test_another_copy_is_refused(tmp_path):
    (tmp_path / "b2t_fairseq").mkdir()
    with pytest.raises(UserError, match="another copy"):
        of_fairseq.fill_user_dir(["--user-dir", str(tmp_path / "b2t_fairseq")])


@pytest.mark.parametrize("arguments", [["--user-dir"], ["--user-dir="], ["--user-dir", "/no/such/folder"]])
def test_a_bad_user_dir_is_refused(arguments):
    with pytest.raises(UserError, match="--user-dir"):
        of_fairseq.fill_user_dir(arguments)


def test_hydra_gets_the_user_dir_and_keeps_the_working_folder():
    assert of_fairseq.fill_hydra(["task.data=bin"]) == ["task.data=bin", "hydra.job.chdir=false"]
    assert of_fairseq.fill_hydra(["hydra.job.chdir=true", f"common.user_dir={HOME}/."]) == [
        "hydra.job.chdir=true",
        f"common.user_dir={HOME}",
    ]


@pytest.mark.parametrize("given", [None, str(HOME), "b2t_fairseq"])
def test_hydra_trains_with_our_user_dir(given):
    cfg = OmegaConf.create({"common": {"user_dir": given}})
    of_fairseq.fill_hydra_user_dir(["task.data=bin"], cfg)
    assert cfg.common.user_dir == str(HOME)


def test_a_user_dir_in_a_hydra_file_is_not_run(tmp_path):
    cfg = OmegaConf.create({"common": {"user_dir": str(tmp_path)}})
    with pytest.raises(UserError, match="add common.user_dir="):
        of_fairseq.fill_hydra_user_dir(["task.data=bin"], cfg)
    of_fairseq.fill_hydra_user_dir([f"common.user_dir={tmp_path}"], cfg)
    assert cfg.common.user_dir == str(tmp_path)
