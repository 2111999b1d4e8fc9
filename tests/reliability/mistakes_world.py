"""A folder of tiny texts, data, models and damaged copies of them, for the tests of mistakes."""

import shutil
from pathlib import Path

import torch

from b2t_fairseq import cli

SIZES = " ".join(
    f"--{side}-{name} {value}"
    for side in ("encoder", "decoder")
    for name, value in (("layers", 1), ("embed-dim", 8), ("ffn-embed-dim", 8), ("attention-heads", 2))
)
RUN = "--optimizer adam --lr 1e-3 --max-tokens 100 --max-update 1 --cpu --num-workers 0 --log-format none"
MT = f"--arch transformer_b2t_6_6_tiny {SIZES} {RUN} --criterion cross_entropy"
LM_SIZES = "--decoder-layers 1 --decoder-embed-dim 8 --decoder-ffn-embed-dim 8 --decoder-attention-heads 2"
LM_WIDTHS = "--decoder-input-dim 8 --decoder-output-dim 8"
LM = f"--task language_modeling --arch transformer_lm_b2t {LM_SIZES} {LM_WIDTHS} --tokens-per-sample 16 {RUN}"
CUTOFF = "--adaptive-input-cutoff 5 --adaptive-softmax-cutoff 5"
ADAPTIVE = f"{CUTOFF} --criterion adaptive_loss --ddp-backend legacy_ddp"
LANGUAGES = "-s en -t de"

#: the first word of a case -> the command it stands for
SHORT = {
    "T": f"train bin {MT} --no-save",
    "T_DATA": f"train {{}} {MT} --no-save",  # the next word is the data folder
    "S": f"train {{}} --task speech_to_text --arch s2t_transformer_b2t_6_6 {SIZES} {RUN} --no-save",
    "L": f"train lmbin {LM} {ADAPTIVE} --no-save",
    "G": "generate bin --path ck/checkpoint_last.pt --cpu --quiet",
    "G_DATA": "generate {} --path ck/checkpoint_last.pt --cpu --quiet",
    "G_CK": "generate bin --cpu --quiet --path {}",
    "I": "interactive bin --path ck/checkpoint_last.pt --cpu --input test.en",
    "V": "validate bin --path ck/checkpoint_last.pt --cpu --max-tokens 100 --task translation",
    "E": "eval-lm lmbin --path lmck/checkpoint_last.pt --cpu --gen-subset test --tokens-per-sample 16",
    "P": f"preprocess {LANGUAGES} --trainpref train --validpref valid --destdir out",
    "H": "hydra-train task=language_modeling task.data=lmbin model=transformer_lm/transformer_lm_gpt",
    "B": "bleu --hypotheses gen.out --references test.de",
    "R": "rouge --hypotheses gen.out --references test.de",
    "W": "wer --hypotheses gen.out --references test.de",
}


def command(case: str) -> list[str]:
    """Return the whole command line of a case; words are separated by spaces, `␣` stands for one inside a word."""
    first, *rest = case.split()
    words = SHORT.get(first, first).split()
    if "{}" in words:
        words[words.index("{}")] = rest.pop(0)
    return [word.replace("␣", " ") for word in words + rest]


def make(root: Path) -> None:
    """Make everything in the folder `root`, which is the working folder."""
    rows = ["a b c d", "b c d e", "c d e a", "d e a b"]
    for split, count in (("train", 12), ("valid", 4), ("test", 4)):
        text = [rows[i % 4] for i in range(count)]
        Path(f"{split}.en").write_text("".join(f"{row}\n" for row in text))
        Path(f"{split}.de").write_text("".join(f"{row.upper()}\n" for row in text))
    splits = "--trainpref train{0} --validpref valid{0} --testpref test{0}"
    run(f"preprocess {LANGUAGES} {splits.format('')} --destdir bin")
    run(f"preprocess --only-source {splits.format('.en')} --destdir lmbin")
    run(f"train bin {MT} --save-dir ck --no-epoch-checkpoints")
    run(f"train lmbin {LM} {ADAPTIVE} --save-dir lmck --no-epoch-checkpoints")
    make_texts()
    make_damaged_data()
    make_damaged_speech()
    make_damaged_checkpoints()


def run(case: str) -> None:
    """Run a command that must succeed."""
    assert cli.main(command(case)) in (0, None), case


def make_texts() -> None:
    """Write the small files that cases name."""
    rows = Path("test.de").read_text().splitlines()
    lines = [f"T-{i}\t{row}\nH-{i}\t-0.5\t{row}\nD-{i}\t-0.5\t{row}\n" for i, row in enumerate(rows)]
    texts = {
        "empty.en": "", "empty.de": "", "blank.en": "\n\n", "one.txt": "A\n", "two.txt": "A\nB\n",
        "gen.out": "".join(lines), "gen_gap.out": lines[0] + lines[2], "text.json": "{", "list.json": "[]",
        "bad.yaml": "a: [1", "no_dict.txt": "a\n", "codes.txt": "nonsense\n", "config.txt": "x",
        "short.en": "a b\n", "short.de": "A\nB\n",
    }  # fmt: skip
    for name, text in texts.items():
        Path(name).write_text(text)
    Path("latin1.en").write_bytes("é à ü\n".encode("latin1"))
    Path("latin1.de").write_bytes("é à ü\n".encode("latin1"))
    Path("folder").mkdir()


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"these are words and not numbers\n",
    "latin1": lambda data: b"\xe9\xff\xfe 1\n",
    "header": lambda data: data[:20],
}


def make_damaged_data() -> None:
    """Copy the data folders, each with one damaged file: `bad/train.idx-cut`."""
    for split in ("train", "valid", "test"):
        for ending in ("idx", "bin"):
            for how in ("empty", "cut", "zeros", "text", "header"):
                damaged("bin", f"{split}.en-de.en.{ending}", how, f"bad/{split}.{ending}-{how}")
    for how in DAMAGE:
        damaged("bin", "dict.en.txt", how, f"bad/dict-{how}")
        damaged("lmbin", "train.idx", how, f"bad/lm.idx-{how}")
        damaged("lmbin", "dict.txt", how, f"bad/lm.dict-{how}")
    for name in ("dict.de.txt", "train.en-de.en.bin", "train.en-de.de.idx", "valid.en-de.en.idx", "test.en-de.de.bin"):
        shutil.copytree("bin", f"bad/without-{name}")
        Path(f"bad/without-{name}/{name}").unlink()
    shutil.copytree("bin", "bad/duplicate")
    Path("bad/duplicate/dict.en.txt").write_text("a 1\na 2\n")
    shutil.copytree("bin", "bad/small-dict")
    Path("bad/small-dict/dict.en.txt").write_text("a 1\n")
    Path("longer.en").write_text(Path("train.en").read_text() + "a b\n")
    run("preprocess --only-source --srcdict bin/dict.en.txt --trainpref longer.en --destdir longer")
    shutil.copytree("bin", "bad/uneven")
    for ending in ("idx", "bin"):
        shutil.copy(f"longer/train.{ending}", f"bad/uneven/train.en-de.en.{ending}")


def make_damaged_speech() -> None:
    """Write data folders of speech recognition whose `config.yaml` is damaged."""
    texts = {
        "number": "5\n", "open": "a: [1\n", "nothing": "", "null": "vocab_filename: null\n", "list": "- 1\n",
        "vocabulary": "vocab_filename: nosuch.txt\n", "deep": "[" * 100_000,
    }  # fmt: skip
    for name, text in texts.items():
        Path(f"bad/speech-{name}").mkdir()
        Path(f"bad/speech-{name}/config.yaml").write_text(text)


def damaged(folder: str, name: str, how: str, target: str) -> None:
    """Copy a data folder and damage one of its files."""
    shutil.copytree(folder, target)
    path = Path(target, name)
    path.write_bytes(DAMAGE[how](path.read_bytes()))


def make_damaged_checkpoints() -> None:
    """Write checkpoints with NaN and infinite weights."""
    for name, value in (("nan", float("nan")), ("inf", float("inf"))):
        state = torch.load("ck/checkpoint_last.pt", weights_only=False)
        state["model"]["encoder.embed_tokens.weight"][0] = value
        torch.save(state, f"{name}.pt")
