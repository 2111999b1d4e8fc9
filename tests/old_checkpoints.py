"""Checkpoints of older code: how those in tests/data/old_checkpoints were made, and what they are used with.

Run once, with the code before the move of the packages (commit 9488211):

    git worktree add /tmp/before 9488211
    PYTHONPATH=/tmp/before:/tmp/before/tests python tests/old_checkpoints.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from builders import PAD, batch, dictionary
from fairseq import checkpoint_utils
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

from b2t_fairseq import cli

SIDES = [f"--{side}-{name}={n}" for side in ("encoder", "decoder")
         for name, n in (("layers", 1), ("embed-dim", 8), ("ffn-embed-dim", 8), ("attention-heads", 2))]  # fmt: skip
MODELS = {
    "b2t": ["--arch", "transformer_b2t_6_6_tiny", *SIDES, "--share-all-embeddings"],
    "stock": ["--arch", "transformer", *SIDES, "--share-all-embeddings"],
    "language_model": [
        *("--arch", "transformer_lm_b2t_6_tiny", "--task", "language_modeling", "--tokens-per-sample", "16"),
        *(option for option in SIDES if "decoder" in option),
    ],
}
TRAINING = [
    *("--optimizer", "adam", "--lr", "0.01", "--max-tokens", "60", "--max-update", "3", "--cpu", "--num-workers", "0"),
    *("--no-epoch-checkpoints", "--seed", "3"),
]


def make_data(folder: Path) -> None:
    """Random sentences in two languages: the corpus of the trainings."""
    words, generator = dictionary(), torch.Generator().manual_seed(0)
    folder.mkdir()
    words.save(str(folder / "dict.txt"))
    for language in ("en", "de"):
        words.save(str(folder / f"dict.{language}.txt"))
        for split in ("train", "valid"):
            stem = folder / f"{split}.en-de.{language}"
            builder = MMapIndexedDatasetBuilder(f"{stem}.bin")
            for length in range(3, 11):
                builder.add_item(torch.cat([torch.randint(4, 50, (length,), generator=generator), torch.tensor([2])]))
            builder.finalize(f"{stem}.idx")
    for split in ("train", "valid"):
        for end in ("bin", "idx"):
            (folder / f"{split}.{end}").write_bytes((folder / f"{split}.en-de.en.{end}").read_bytes())


def log_probabilities(path: Path, data: Path) -> list[list[float]]:
    """Of each target token of the tests' batch, from what stands before it."""
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], arg_overrides={"data": str(data)})
    source, target = batch()
    is_pair = hasattr(model, "encoder")
    before, after = target[:, :-1], target[:, 1:]
    for layer in model.encoder.layers if is_pair else ():
        layer.can_use_fastpath = False  # fairseq 0.12.2's inference path fails on a recent torch
    logits = model.eval()(source, None, before)[0] if is_pair else model.eval()(before)[0]
    found = logits.double().log_softmax(-1).gather(2, after.unsqueeze(2)).squeeze(2)
    return found.masked_fill(after.eq(PAD), 0).tolist()


def main() -> None:
    folder = Path(sys.argv[1])
    make_data(folder / "data")
    expected = {}
    for name, options in MODELS.items():
        saved = folder / name
        assert cli.main(["train", str(folder / "data"), *options, *TRAINING, "--save-dir", str(saved)]) == 0
        (saved / "checkpoint_last.pt").rename(folder / f"{name}.pt")
        expected[name] = log_probabilities(folder / f"{name}.pt", folder / "data")
    (folder / "log_probabilities.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
