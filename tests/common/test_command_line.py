"""Command lines: types, commands to copy, and mistakes that are one line in every program of ours."""

import importlib
import re
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from b2t_fairseq.common.command_line import Parser, depths, guarded, not_negative, ours, positive, shown
from b2t_fairseq.common.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("b2t_fairseq", "benchmarks")
FILES = [path.relative_to(ROOT) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
TEXTS = {path: (ROOT / path).read_text(encoding="utf-8") for path in FILES}
WITH_MAIN = [".".join(path.with_suffix("").parts) for path, text in TEXTS.items() if "\ndef main(" in text]
STARTED = [path for path, text in TEXTS.items() if '__name__ == "__main__"' in text]
#: what guards itself: the commands' own front door; a side of a benchmark, which no user starts; the profiler, which
#: must not import the plugin; the cost model, which takes no options
OWN_GUARD = {"b2t_fairseq/cli.py", "b2t_fairseq/experiments/costs.py", "benchmarks/sides.py", "benchmarks/profile.py"}


@pytest.mark.parametrize("name", WITH_MAIN)
def test_an_unknown_option_is_one_line_and_status_2(name, capsys):
    main = importlib.import_module(name).main
    try:
        status = guarded(lambda: main(["--no-such-option"]))
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    assert status == 2 and not printed.out
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1, printed.err


def test_all_programs_are_there():
    assert len(WITH_MAIN) >= 18 and "b2t_fairseq.evaluation.bleu" in WITH_MAIN and "benchmarks.profile" in WITH_MAIN


@pytest.mark.parametrize("path", STARTED, ids=str)
def test_every_program_is_guarded(path):
    assert "sys.exit(guarded(main))" in TEXTS[path] or str(path) in OWN_GUARD


@pytest.mark.parametrize("text", ["-1", "1.5", "", "x", "1e3", "²"])
def test_numbers(text):
    assert positive("12") == not_negative("12") == 12 and not_negative("0") == 0
    for kind in (positive, not_negative):
        with pytest.raises(ArgumentTypeError, match=f"'{re.escape(text)}' must be a whole number of at least"):
            kind(text)
    with pytest.raises(ArgumentTypeError, match="at least 1"):
        positive("0")


def test_depths():
    assert depths("18-6") == (18, 6) and depths("16") == (16,)
    for text in ("0-3", "18-", "1-2-3", "six", "", "-3", "6 -6"):
        with pytest.raises(ArgumentTypeError, match=f"'{text}' must be like 18-18"):
            depths(text)


def test_mistakes_are_raised_and_abbreviations_refused(capsys):
    parser = Parser(prog="x")
    parser.add_argument("--layers", type=depths)
    parser.add_subparsers().add_parser("command").add_argument("--width", type=positive)
    for wrong in (["--lay", "6"], ["--layers", "0"], ["command", "--wid", "3"], ["command", "--width", "0"], ["other"]):
        with pytest.raises(UserError, match="; --help lists the options$"):
            parser.parse_args(wrong)
    assert capsys.readouterr() == ("", "")


def test_what_follows_two_dashes_is_kept(monkeypatch):
    parser = Parser()
    parser.add_argument("--a")
    options = parser.parse_and_keep_further(["--a", "1", "--", "--b", "--", "2"])
    assert options.a == "1" and options.further == ["--b", "--", "2"]
    monkeypatch.setattr(sys, "argv", ["x", "--a", "2"])
    options = parser.parse_and_keep_further(None)
    assert options.a == "2" and options.further == []


def test_a_command_to_copy():
    assert shown(ours("train", "a b")) == "b2t-fairseq train 'a b'"
    assert shown(["torchrun", "x"]) == "torchrun x"


def test_statuses(capsys):
    def interrupted():
        raise KeyboardInterrupt

    def mistaken():
        raise UserError("x: wrong")

    assert [guarded(lambda: None), guarded(lambda: 3), guarded(interrupted), guarded(mistaken)] == [0, 3, 130, 2]
    assert capsys.readouterr().err == "interrupted\nerror: x: wrong\n"
    with pytest.raises(KeyError):
        guarded(lambda: {}["a bug"])
