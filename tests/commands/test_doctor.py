"""The doctor: what it says of a sound environment, and of each fault with its fix."""

import sys
import types

import pytest

from b2t_fairseq import cli
from b2t_fairseq.commands import doctor


def said(check):
    return {finding.what: finding for finding in check()}


@pytest.mark.slow
def test_this_environment_is_sound(capsys):
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all is well" and all(line.startswith("ok ") for line in lines[:-1])
    said = {line.split()[1]: line for line in lines[:-1]}
    assert {"Python", "b2t_fairseq", "--user-dir", "torch", "fairseq", "loading", "processor", "disk"} <= set(said)
    assert cli.OUR_PATH in said["--user-dir"]


def test_a_fault_has_a_fix_and_status_1(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (doctor.python, lambda: iter([doctor.Finding("x", "broken", "repair it")])))
    assert doctor.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [lines[1].split(), lines[2].strip(), lines[3]] == [["FAULT", "x", "broken"], "fix: repair it", "1 fault"]


@pytest.mark.parametrize(
    "installed, fix",
    [
        ({}, "pip install"),
        ({"fairseq": "0.12.2", "ve-fairseq": "0.12.3"}, "pip uninstall ve-fairseq fairseq, then install one"),
        ({"fairseq": "0.10.2"}, "0.12 is what this plugin is made for"),
        ({"fairseq-fixed": "0.12.3.1"}, None),
    ],
)
def test_fairseqs(installed, fix, monkeypatch):
    monkeypatch.setattr(doctor, "version", installed.get)
    finding = said(doctor.fairseq)["fairseq"]
    assert (finding.fix is None) if fix is None else finding.fix.startswith(fix) or fix in finding.fix


def fake_torch(version="2.13.0+cpu", cuda=None, available=False):
    properties = types.SimpleNamespace(name="H100", total_memory=80 * 2**30)
    gpu = types.SimpleNamespace(
        is_available=lambda: available,
        device_count=lambda: 2,
        get_device_properties=lambda place: properties,
        is_bf16_supported=lambda: True,
    )
    versions = types.SimpleNamespace(cuda=cuda)
    return types.SimpleNamespace(__version__=version, version=versions, cuda=gpu, get_num_threads=lambda: 2)


@pytest.mark.parametrize(
    "torch, driver, what, text, fix",
    [
        (fake_torch(), None, "GPU", "none: everything runs on the CPU", None),
        (fake_torch(), "/usr/bin/nvidia-smi", "GPU", "there is one, and torch is a CPU build", "install a CUDA build"),
        (fake_torch(cuda="12.8"), "/usr/bin/nvidia-smi", "GPU", "torch cannot use it", "update the NVIDIA driver"),
        (fake_torch(cuda="12.8", available=True), "/x", "GPU 1", "H100, 80 GiB, bf16", None),
        (fake_torch("2.1.2"), None, "torch", "2.1.2, CPU build, 2 threads", "pip install -U torch"),
    ],
)
def test_torch_and_gpus(torch, driver, what, text, fix, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: driver)
    finding = said(doctor.torch)[what]
    assert finding.text == text and (finding.fix is None if fix is None else finding.fix.startswith(fix))


def test_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = said(doctor.torch)["torch"]
    assert finding.text == "not installed" and finding.fix.startswith("pip install torch")


def test_a_plugin_that_does_not_load(monkeypatch):
    monkeypatch.setattr(doctor.sys, "executable", "/bin/false")
    finding = said(doctor.loading)["loading"]
    assert finding.text == "exit status 1" and finding.fix


@pytest.mark.parametrize(
    "compiler, what, fix", [("", "kernels", None), ("no-such-compiler", "compiler", "apt install g++")]
)
def test_compilers(compiler, what, fix, monkeypatch):
    monkeypatch.setenv("CXX", compiler)
    finding = said(doctor.kernels)[what]
    assert finding.fix is None if fix is None else finding.fix.startswith(fix)


def test_a_compiler_that_fails_is_named(monkeypatch):
    from b2t_fairseq.native.build import kernels

    monkeypatch.setenv("CXX", "/bin/false")
    kernels.cache_clear()
    try:
        finding = said(doctor.kernels)["kernels"]
    finally:
        kernels.cache_clear()
    assert "torch's operations are used" in finding.text and finding.fix


def test_missing_packages(monkeypatch):
    needed = ["jiwer>=4", "numpy", 'safetensors>=0.4; extra == "export"', 've-fairseq==0.12.3; extra == "ve"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: needed)
    monkeypatch.setattr(doctor, "version", {"numpy": "2.0"}.get)
    findings = said(doctor.packages)
    assert findings["packages"].fix == "pip install jiwer" and set(findings) == {"packages", "[export]"}
    assert findings["[export]"].fix is None and 'pip install "b2t_fairseq[export]"' in findings["[export]"].text


def test_another_copy_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "b2t_fairseq").mkdir()
    (tmp_path / "b2t_fairseq" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    assert said(doctor.plugin)["other copy"].fix


def test_a_full_disk(monkeypatch):
    usage = types.SimpleNamespace(free=2**20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert said(doctor.disk)["disk"].fix.startswith("free some")
