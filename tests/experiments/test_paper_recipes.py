"""The paper's recipes: each dry run's command, read by fairseq's own parser, against the paper's Table 7."""

import shlex
from pathlib import Path

import pytest
from fairseq import options as fairseq_options

from b2t_fairseq.common.errors import UserError
from b2t_fairseq.connections import CONNECTIONS
from b2t_fairseq.experiments import train as paper
from b2t_fairseq.experiments.batch import keep_batch
from b2t_fairseq.experiments.recipes import configs_folder, flags, merged, read_paper_recipe
from b2t_fairseq.experiments.tasks import PAPER_CORPORA

MT, SUM, LM, ASR = "wmt_ende", "gigaword", "wikitext103", "librispeech"
#: what all commands have in common
EVERYWHERE = {
    "connection": "b2t",
    "optimizer": "adam",
    "adam_betas": "(0.9, 0.98)",
    "lr": [1e-3],
    "lr_scheduler": "inverse_sqrt",
    "warmup_init_lr": 1e-7,
    "weight_decay": 0,
    "distributed_world_size": 8,
    "fp16": True,
    "bf16": False,
}
PAIRS = {
    "decoder_embed_dim": 512,
    "decoder_ffn_embed_dim": 2048,
    "decoder_attention_heads": 8,
    "warmup_updates": 4000,
    "max_update": 50_000,
    "max_tokens": 3584,
    "label_smoothing": 0.1,
    "share_all_embeddings": True,
}
#: Table 7, a task each
TABLE_7 = {
    MT: PAIRS,
    SUM: PAIRS,
    LM: {
        "decoder_embed_dim": 1024,
        "decoder_ffn_embed_dim": 4096,
        "decoder_attention_heads": 8,
        "warmup_updates": 2000,
        "max_update": 50_000,
        "max_tokens": 1024,
        "adaptive_softmax_cutoff": "20000,60000",
        "adaptive_input_cutoff": "20000,60000",
        "criterion": "adaptive_loss",
        "ddp_backend": "legacy_ddp",
    },
    ASR: {
        "decoder_embed_dim": 512,
        "decoder_ffn_embed_dim": 2048,
        "decoder_attention_heads": 8,
        "warmup_updates": 4000,
        "max_update": 150_000,
        "max_tokens": 40_000,
        "train_subset": "train-clean-100,train-clean-360,train-other-500",
        "dropout": 0.15,
        "label_smoothing": 0.1,
    },
}
DEPTHS = {"100-100": {"max_update": 25_000}}
STACKS = dict.fromkeys((MT, SUM, ASR), ("encoder_layers", "decoder_layers")) | {LM: ("decoder_layers",)}
REGULARISATION = ("dropout", "clip_norm", "encoder_word_dropout", "decoder_word_dropout", "connection_init")
SHALLOW = dict(zip(REGULARISATION, (0.3, 0.1, 0.0, 0.0, "auto"), strict=True))
DEEP = dict(zip(REGULARISATION, (0.3, 0.0, 0.0, 0.0, "auto"), strict=True))
DEEP_AS_RELEASED = dict(zip(REGULARISATION, (0.5, 0.1, 0.1, 0.1, "rescale"), strict=True))
#: by depth where the paper and its released code differ, or a deep model from a shallow one
SETTINGS = {
    (name, depth, kind): SHALLOW if depth == "6-6" else {"paper": DEEP, "released": DEEP_AS_RELEASED}[kind]
    for name in (MT, SUM)
    for depth in PAPER_CORPORA[name][1].depths
    for kind in ("paper", "released")
}
#: the tokens per update of Table 8 as we read it
TOKENS = {
    (MT, None): 128 * 3584,
    (SUM, "6-6"): 64 * 3584,
    (SUM, None): 144 * 3584,
    (LM, "6"): 128 * 1024,
    (LM, "16"): 192 * 1024,
    (ASR, None): 32 * 40_000,
}
CONFIGS = configs_folder() / "paper"
CASES = [
    (name, depth, kind)
    for name, (_, corpus) in PAPER_CORPORA.items()
    for depth in corpus.depths
    for kind in ("paper", "released")
]


def dry_run(capsys, *arguments: str) -> tuple[list[str], list[str]]:
    """The comment lines, and the command split into words."""
    assert paper.main([arguments[0], "--dry-run", *arguments[1:]]) == 0
    *comments, command = capsys.readouterr().out.splitlines()
    return comments, shlex.split(command)


def as_fairseq_reads(command: list[str]):
    """The options as fairseq-train understands them; one that it does not know ends the test."""
    words = command[command.index("train") + 1 :]
    return fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), words)


@pytest.mark.parametrize("name, depth, kind", CASES)
def test_the_command_is_the_papers(name, depth, kind, capsys):
    comments, command = dry_run(capsys, name, "--layers", depth, "--recipe", kind, "--gpus", "8")
    read_back = as_fairseq_reads(command)
    expected = {**EVERYWHERE, **TABLE_7[name], **DEPTHS.get(depth, {}), **SETTINGS.get((name, depth, kind), {})}
    expected |= dict(zip(STACKS[name], map(int, depth.split("-")), strict=True))
    assert {option: getattr(read_back, option) for option in expected} == expected
    tokens = TOKENS.get((name, depth), TOKENS.get((name, None)))
    (update_freq,) = read_back.update_freq
    assert update_freq * 8 * read_back.max_tokens == tokens
    batch = f"8 GPUs x max-tokens {read_back.max_tokens} x update-freq {update_freq}"
    assert comments == [f"# tokens per update: {tokens:,} = {batch}"]


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_every_connection_has_a_command(connection, capsys):
    """All are trained alike but T-Fixup, which has its authors' schedule."""
    _, command = dry_run(capsys, MT, "--connection", connection, "--gpus", "1")
    read_back = as_fairseq_reads(command)
    assert (read_back.connection, read_back.arch) == (connection, f"transformer_{connection}_18_18")
    tfixup = connection == "tfixup"
    assert read_back.lr_scheduler == ("inverse_sqrt_nowarmup" if tfixup else "inverse_sqrt")
    assert read_back.clip_norm == (25.0 if tfixup else 0.0)
    assert command[:2] == ["b2t-fairseq", "train"]  # one GPU needs no launcher


def test_schedules_of_their_own(capsys):
    def own(connection):
        command = dry_run(capsys, MT, "--connection", connection, "--recipe", "own", "--gpus", "8")[1]
        return as_fairseq_reads(command)

    pre, post, plain = own("dlcl_pre"), own("dlcl_post"), own("pre")
    assert (pre.lr, pre.warmup_updates, pre.adam_betas) == ([2e-3], 16_000, "(0.9, 0.997)")
    assert (post.lr, post.warmup_updates, post.adam_betas) == ([2e-3], 16_000, "(0.9, 0.98)")
    assert (plain.lr_scheduler, plain.decay_period) == ("inverse_sqrt_nowarmup", 4000)
    with pytest.raises(UserError, match="--recipe own: only dlcl_pre"):
        own("post")
    with pytest.raises(UserError, match="would replace deepnet's own initialisation"):
        paper.main([MT, "--connection", "deepnet", "--recipe", "released", "--gpus", "8", "--dry-run"])


@pytest.mark.parametrize(
    "gpus, nodes, max_tokens, update_freq, note",
    [
        (128, 1, 3584, 1, None),
        (8, 1, 3584, 16, None),
        (1, 1, 3584, 128, None),
        (8, 4, 3584, 4, None),
        (8, 1, 1792, 32, None),
        (3, 1, 3584, 43, "3,584 (0.8%) more"),
        (5, 1, 3584, 26, "7,168 (1.6%) more"),
        (7, 1, 3584, 18, "7,168 (1.6%) fewer"),
        (64, 4, 3584, 1, "458,752 (100.0%) more"),
        (7, 1, 3584, 18, "; -- --max-tokens 2048 keeps it exactly"),
        (64, 4, 3584, 1, "; -- --max-tokens 1792 keeps it exactly"),
    ],
)
def test_update_freq_keeps_the_batch(gpus, nodes, max_tokens, update_freq, note):
    batch = keep_batch(458_752, gpus, nodes, max_tokens)
    assert batch.update_freq == update_freq
    first, *notes = batch.lines()
    assert first.startswith(f"tokens per update: {gpus * nodes * max_tokens * update_freq:,} = ")
    assert (note in notes[0]) if note else not notes


def test_a_batch_that_cannot_be_kept_is_said_and_a_language_models_windows_stay_whole():
    """128 GPUs, 196,608 tokens: 1536 each is 768 twice, but a window is 512; 3 and 7 GPUs have no such number."""
    batch = keep_batch(196_608, 8, 16, 1024, unit=512)
    assert batch.exact_max_tokens == 512 and keep_batch(196_608, 8, 16, 512, unit=512).tokens == 196_608
    assert keep_batch(196_608, 8, 16, 1024).exact_max_tokens == 768
    assert keep_batch(458_752, 3, 1, 3584).exact_max_tokens is None
    assert "exactly" not in keep_batch(458_752, 3, 1, 3584).lines()[1]


def test_further_options_win_and_the_batch_follows(capsys):
    comments, command = dry_run(
        capsys, MT, "--gpus", "4", "--precision", "bf16", "--seed", "7", "--", "--max-tokens", "7168", "--lr", "5e-4"
    )
    read_back = as_fairseq_reads(command)
    assert (read_back.max_tokens, read_back.update_freq, read_back.lr) == (7168, [16], [5e-4])
    assert (read_back.bf16, read_back.fp16, read_back.seed) == (True, False, 7)
    assert "458,752" in comments[0]
    comments, command = dry_run(capsys, MT, "--gpus", "4", "--", "--update-freq=8")
    assert as_fairseq_reads(command).update_freq == [8]
    assert "344,064 (75.0%) fewer" in comments[1]


def test_machines_meet(capsys, monkeypatch):
    for name in ("MASTER_ADDR", "SLURM_JOB_NODELIST", *paper.NODES):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="set MASTER_ADDR"):
        paper.main([MT, "--gpus", "8", "--nodes", "2", "--dry-run"])
    monkeypatch.setenv("MASTER_ADDR", "first")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "16")
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    comments, command = dry_run(capsys, MT, "--gpus", "8")
    launcher = shlex.join(command[: command.index("b2t_fairseq")])
    for part in ("--nnodes 16", "--nproc-per-node 8", "--rdzv-endpoint first:29500", "--rdzv-id 42"):
        assert part in launcher
    assert as_fairseq_reads(command).update_freq == [1]
    assert "16 nodes x 8 GPUs x max-tokens 3584 x update-freq 1" in comments[0]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["wmt"], "invalid choice"),
        ([MT, "--layers", "7-7"], "--layers 7-7: wmt_ende has the depths 6-6"),
        ([MT, "--connection", "nosuch"], "nosuch"),
        ([MT, "--gpus", "0"], "--gpus 0: must be at least 1"),
        ([MT, "--seed", "-1"], "--seed -1: must be at least 0"),
        ([MT, "--stop-after", "-5"], "--stop-after -5: must be at least 0"),
        ([MT, "--gpus", "64"], "--gpus 64 -- --cpu|--gpus N -- --cpu"),
        ([MT, "--gpus", "2", "--dry-run", "--", "--update-freq", "x"], "--update-freq x"),
        (
            [MT, "--gpus", "2", "--data", "no/such", "--", "--cpu"],
            "--data: there is no no/such/data-bin; run scripts/prepare",
        ),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        paper.main(arguments)


def test_there_is_a_recipe_for_each_task_and_it_says_how_it_is_used():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(PAPER_CORPORA)
    for name in PAPER_CORPORA:
        text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
        header = text[: text.index("\ntrain:")]
        for word in ("first:", "command:", "then:", "hardware:", "tokens:", "score:", "override:", "our reading"):
            assert word in header, (name, word)
        assert f"scripts/train_{name}.sh" in header and f"scripts/prepare_{name}.sh" in header


#: newstest2014 has a length penalty of its own
DECODING = {
    **{(MT, test): {"beam": 4, "lenpen": 1.0} for test in PAPER_CORPORA[MT][1].tests},
    (MT, "newstest2014"): {"beam": 4, "lenpen": 0.6},
}


@pytest.mark.parametrize("name", PAPER_CORPORA)
def test_decoding_blocks_are_taken_whole_by_fairseq(name):
    task, corpus = PAPER_CORPORA[name]
    recipe = read_paper_recipe(corpus.recipe, task.command, corpus.depths, corpus.tests)
    make = {"generate": fairseq_options.get_generation_parser, "eval-lm": fairseq_options.get_eval_lm_parser}
    for test in corpus.tests:
        arguments = ["data", *flags(merged(recipe, task.command, test))]
        parsed = fairseq_options.parse_args_and_arch(make[task.command](), arguments)
        expected = DECODING.get((name, test), {})
        assert {option: getattr(parsed, option) for option in expected} == expected
    assert recipe["average"] == {"num-epoch-checkpoints": 10}


def test_a_block_of_an_unknown_name_is_refused(tmp_path: Path):
    text = (CONFIGS / "wmt_ende.yaml").read_text(encoding="utf-8")
    (tmp_path / "my.yaml").write_text(text.replace("\n6-6:", "\n6/6:"), encoding="utf-8")
    with pytest.raises(UserError, match="'6/6' is not a recipe, depth, connection or test set"):
        read_paper_recipe(tmp_path / "my.yaml", "generate", ["6-6"], [])
