"""`b2t-fairseq analyze` and `--probe-interval`, on tiny models."""

import json
import re

import pytest
import torch
from end_to_end import NARROW, TRAINING, inside, make_data

from b2t_fairseq import UserError, cli
from b2t_fairseq.analysis import analyze, during_training, figures, fresh, style, trained
from b2t_fairseq.checkpoints.loading import load_checkpoint

LM = [
    *("--arch", "transformer_lm_pre_6_tiny", "--task", "language_modeling", "--tokens-per-sample", "24"),
    *("--decoder-layers", "2", "--decoder-embed-dim", "16", "--decoder-ffn-embed-dim", "24"),
    *("--decoder-input-dim", "16", "--decoder-output-dim", "16"),
]
QUIET = ["--disable-validation", "--no-epoch-checkpoints"]


@pytest.fixture(scope="module", autouse=True)
def short_corpus():
    """The first pairs of the embedded corpus, which takes seconds to make as a whole."""
    from b2t_fairseq.corpora.embedded import english_german

    original = english_german.generate
    short = original({"train": 60, "valid": 10, "test": 10}, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(english_german, "generate", lambda sizes=None, seed=1: original(sizes, seed) if sizes else short)
        fresh.corpus.cache_clear()
        yield
    fresh.corpus.cache_clear()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Binarised translation data, and the same training without, with, and again with --probe-interval."""
    folder = tmp_path_factory.mktemp("analysis")
    data = make_data(folder)
    for name, options in {
        "plain": [],
        "probed": ["--probe-interval", "2", "--tensorboard-logdir", folder / "board"],
    }.items():
        run = [*NARROW, *TRAINING, *QUIET, "--max-update", "5", "--update-freq", "2", "--encoder-layerdrop", "0.3"]
        inside("train", data, *run, *options, "--save-dir", folder / name)
    return folder


@pytest.fixture(scope="module")
def language_model(world):
    text = world / "train.en"
    inside("preprocess", "--only-source", "--trainpref", text, "--validpref", text, "--destdir", world / "lm-bin")
    for name, options in {"lm-plain": [], "lm-probed": ["--probe-interval", "3"]}.items():
        run = [*TRAINING, *LM, *QUIET, "--max-update", "4", "--save-dir", world / name]
        run[run.index("label_smoothed_cross_entropy")] = "cross_entropy"
        del run[run.index("--label-smoothing") : run.index("--label-smoothing") + 2]
        inside("train", world / "lm-bin", *run, *options)
    return world


def equal(first, second) -> bool:
    """The same to the last bit, whatever is in it."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same_training(plain, probed) -> None:
    one, other = (load_checkpoint(folder / "checkpoint_last.pt") for folder in (plain, probed))
    for part in ("model", "last_optimizer_state"):
        assert equal(one[part], other[part]), part
    # among the meters: the loss of every update, summed, also to the last bit
    losses = [dict(state["extra_state"]["metrics"])["train"] for state in (one, other)]
    kept = [[meter for meter in meters if meter[1] in ("loss", "nll_loss", "gnorm")] for meters in losses]
    assert len(kept[0]) >= 2 and equal(*kept)


def test_training_is_the_same_with_probes_to_the_last_bit(world):
    assert_same_training(world / "plain", world / "probed")
    assert not (world / "plain" / "probes.jsonl").exists()
    records = lines(world / "probed" / "probes.jsonl")
    assert sorted({r["update"] for r in records}) == [0, 2, 4]
    assert {r["probe"] for r in records} == set(during_training.NAMES)
    first = records[0]
    assert [first[key] for key in ("connection", "layers", "side", "layer", "seed")] == ["b2t", "2-2", "encoder", 1, 3]
    assert all(r["value"] > 0 for r in records)


def test_tensorboard_has_the_probes(world):
    content = b"".join(path.read_bytes() for path in (world / "board" / "probes").iterdir())
    assert b"gradients/decoder_02" in content and b"growth/encoder_01" in content


def test_a_resumed_training_measures_again_what_it_trains_again(world, tmp_path):
    (tmp_path / "checkpoint_last.pt").write_bytes((world / "probed" / "checkpoint_last.pt").read_bytes())
    kept = lines(world / "probed" / "probes.jsonl")
    late = [json.dumps(kept[0] | {"update": update}) for update in (6, 8)]
    (tmp_path / "probes.jsonl").write_text("\n".join([*map(json.dumps, kept), *late, late[0][:20]]))
    run = [*NARROW, *TRAINING, *QUIET, "--max-update", "7", "--update-freq", "2", "--probe-interval", "6"]
    inside("train", world / "bin", *run, "--encoder-layerdrop", "0.3", "--save-dir", tmp_path)
    records = lines(tmp_path / "probes.jsonl")
    assert [r["update"] for r in records].count(6) == len(kept) // 3
    assert sorted({r["update"] for r in records}) == [0, 2, 4, 6]


def test_a_language_model_is_probed_in_training(language_model):
    assert_same_training(language_model / "lm-plain", language_model / "lm-probed")
    records = lines(language_model / "lm-probed" / "probes.jsonl")
    assert {(r["update"], r["side"], r["layers"]) for r in records} == {(0, "decoder", "2"), (3, "decoder", "2")}


def test_checkpoints(world, language_model, tmp_path, here):
    paths = [world / "plain" / "checkpoint_last.pt", world / "probed" / "checkpoint_last.pt"]
    out, picture = tmp_path / "out.jsonl", tmp_path / "picture.svg"
    for probe in ("gradients", "ffn-gradients", "points", "similarity", "growth"):
        here("analyze", probe, "--path", *paths, "--data", world / "bin", "--output", out, "--figure", picture)
        records = lines(out)
        assert len(records) % 2 == 0 and records[0]["update"] == 5 and records[0]["seed"] == 3
        half = len(records) // 2
        assert [r["value"] for r in records[:half]] == [r["value"] for r in records[half:]], "the same weights"
        assert picture.read_text().startswith("<?xml")
    path = language_model / "lm-plain" / "checkpoint_last.pt"
    printed = here("analyze", "growth", "--path", path, "--data", world / "lm-bin")
    assert [json.loads(line)["layer"] for line in printed.splitlines() if line.startswith("{")] == [1, 2]


def test_models_at_initialisation(tmp_path, here):
    out, picture = tmp_path / "out.jsonl", tmp_path / "picture.png"
    run = ["--connection", "post,pre,b2t", "--layers", "2-3", "--width", "16", "--tokens", "150"]
    for probe in ("gradients", "points", "similarity"):
        here("analyze", probe, *run, "--output", out, "--figure", picture)
        once = out.read_bytes()
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert list(dict.fromkeys(r["connection"] for r in lines(out))) == ["post", "pre", "b2t"]
    here("analyze", "similarity", *run, "--output", out)
    assert out.read_bytes() == once, "deterministic"
    here("analyze", "points", *run, "--at", "2,3", "--output", out)
    assert {r["layer"] for r in lines(out)} == {2, 3}
    state = torch.get_rng_state()
    several = fresh.measure(["growth", "gradients"], "admin", "2-2", 16, seed=2, tokens=100)
    assert torch.equal(torch.get_rng_state(), state)
    assert {r["probe"] for r in several} == {"growth", "gradients"} and several[0]["seed"] == 2
    assert fresh.measure("growth", "admin", "2-2", 16, seed=2, tokens=100) == several[:4]
    omega = fresh.measure("weights", "admin", "2-2", 16, tokens=100)
    for connection in ("admin", "dlcl_post"):
        weights = ["--connection", connection, "--layers", "2-3", "--width", "16", "--tokens", "150"]
        here("analyze", "weights", *weights, "--figure", picture)
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert omega[0]["value"] == 1 and omega[1]["value"] > 1.1, "the profiling pass has run"


def test_architectures_at_initialisation(language_model, here):
    run = ["--arch", "transformer_lm_b2t_6_tiny,transformer_lm_pre_6_tiny", "--data", language_model / "lm-bin"]
    printed = here(
        "analyze", "gradients", *run, "--tokens", "60", "--", "--decoder-layers", "3", "--tokens-per-sample", "24"
    )
    records = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert [(r["connection"], r["layers"], r["layer"]) for r in records][::3] == [("b2t", "3", 1), ("pre", "3", 1)]
    assert 0 < records[0]["tokens"] <= 60


def test_other_parallel_text_and_languages(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.de").write_text("das haus\nein haus\n")
        (tmp_path / f"{split}.fr").write_text("la maison\nune maison\n")
    (row, *_) = fresh.measure("growth", "b2t", "1-1", 16, data=str(tmp_path), languages=("de", "fr"))
    assert row["tokens"] == 6


MISTAKES = {
    "": "the following arguments are required: PROBE",
    "foo": "'foo'",
    "gradients": "give one of --path",
    "gradients --path a.pt --connection b2t": "give one of --path",
    "gradients --path missing.pt --data .": "missing.pt: no such file",
    "gradients --path MT": "--data is missing",
    "gradients --path MT --data missing": "--data missing: no such folder",
    "gradients --path MT --data .": "the data folder holds no binarised language pair",
    "gradients --path MT --data BIN --subset foo": "foo",
    "gradients --path MT --data BIN --width 8": "--width goes with --connection",
    "gradients --path TEXT --data BIN": "train.en",
    "weights --path MT": "'b2t' has none of its own",
    "points --connection tfixup --layers 1-1 --width 16": "'tfixup' has no LayerNorm",
    "points --connection b2t --layers 1-1 --width 16 --at 2": "layers 1 to 1",
    "points --connection b2t --at x": "--at x",
    "growth --connection b2t --at 1": "--at goes with points",
    "growth --connection b3t": "'b3t' is unknown",
    "growth --connection b2t --layers 18": "--layers 18",
    "growth --connection b2t --layers 1-1 --width 6": "multiple of its 4 heads",
    "growth --connection b2t --data missing": "missing: no such folder",
    "growth --connection b2t --figure x.gif": "x.gif: the name must end in",
    "growth --connection b2t --figure missing/x.svg": "no such folder",
    "growth --connection b2t --output missing/x.jsonl": "no such folder",
    "growth --connection b2t --tokens 0": "--tokens",
    "growth --connection b2t -- --lr 1": "options after -- go with --arch",
    "growth --arch transformer_b2t_6_6": "--data is missing",
    "growth --arch lstm --data BIN": "the layers of the decoder return no (T, B, C)",
    "growth --arch fconv --data BIN": "FConvModel has no decoder.layers",
    "growth --arch foo --data BIN": "fairseq has no architecture 'foo'",
    "weights --arch transformer_iwslt_de_en --data BIN": "transformer_iwslt_de_en' has none of its own",
    "growth --connection post,arch:foo": "fairseq has no architecture 'foo'",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake, world, monkeypatch, capfd):
    monkeypatch.chdir(world)
    places = {"MT": "plain/checkpoint_last.pt", "BIN": "bin", "TEXT": "train.en"}
    assert cli.main(["analyze", *(places.get(word, word) for word in mistake.split())]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert MISTAKES[mistake] in line


def test_a_wrong_interval_is_one_line(world, capfd):
    assert cli.main(["train", str(world / "bin"), *NARROW, *TRAINING, "--probe-interval", "-1"]) == 2
    assert "error: --probe-interval -1: must be at least 0" in capfd.readouterr().err


def test_a_strangers_module_is_not_run_unless_trusted(world, tmp_path):
    state = load_checkpoint(world / "plain" / "checkpoint_last.pt")
    state["cfg"]["model"].connection_module = str(tmp_path / "module.py")
    (tmp_path / "module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    torch.save(state, tmp_path / "model.pt")
    trained.measure("growth", str(tmp_path / "model.pt"), str(world / "bin"))
    assert not (tmp_path / "ran").exists()
    trained.measure("growth", str(tmp_path / "model.pt"), str(world / "bin"), trust_checkpoint=True)
    assert (tmp_path / "ran").exists()


def test_every_connection_has_a_look_of_its_own():
    looks = {name: style.line(name) for name in [*style.STYLES, "mine", "yours"]}
    assert len({look["color"] for look in looks.values()}) == len(looks)
    assert len({(str(look["linestyle"]), look["marker"]) for look in list(looks.values())[:3]}) == 3
    labels = [style.label(name) for name in ("post", "pre", "b2t", "deepnet", "mine")]
    assert labels == ["Post-LN", "Pre-LN", "B2T connection", "DeepNet", "mine"]
    from b2t_fairseq.connections import CONNECTIONS

    ours = {name for name, cls in CONNECTIONS.items() if cls.__module__.startswith("b2t_fairseq.")}
    assert ours <= set(style.STYLES), "a connection without a label and a colour: add it to analysis/style.py"


def test_figures_are_the_same_file_and_name_what_differs(tmp_path):
    one = [
        {"probe": "growth", "connection": c, "layers": n, "side": "decoder", "layer": i, "value": i + s, "seed": s}
        for c, n in (("pre", "2"), ("b2t", "2"), ("b2t", "3"))
        for i in (1, 2)
        for s in (1, 2)
    ]
    for name in ("a.svg", "b.svg"):
        figures.growth([record | {"update": 0} for record in one], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    labels = figures.series_of([record | {"update": 0} for record in one]).values()
    assert list(labels) == ["Pre-LN, 2", "B2T connection, 2", "B2T connection, 3"]
    grown = [record | {"update": u, "layers": "2"} for record in one for u in (0, 1000)]
    assert list(figures.series_of(grown).values())[0] == "Pre-LN, 0 updates"
    with pytest.raises(UserError, match="no records of growth"):
        figures.growth([], tmp_path / "c.svg")


def test_the_parser_says_what_there_is(capsys):
    with pytest.raises(SystemExit):
        analyze.parse(["--help"])
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "gradients, ffn-gradients, points, similarity, growth, weights" in text
