"""A stranger's checkpoint: how it is written, and every place of ours that loads one."""

from pathlib import Path

import torch
from end_to_end import NARROW, TRAINING

LM = ("--arch", "transformer_lm_b2t_6", "--task", "language_modeling", "--tokens-per-sample", "32")
LM_SIZES = ("--decoder-layers", "2", "--decoder-embed-dim", "16", "--decoder-ffn-embed-dim", "24")
LM_PLAIN = ("--decoder-attention-heads", "2", "--decoder-input-dim", "16", "--decoder-output-dim", "16")
LM_CUTOFFS = ("--adaptive-input", "--adaptive-input-cutoff", "10,20", "--adaptive-softmax-cutoff", "10,20")
DECODE = ("--cpu", "--beam", "2", "--max-len-b", "8", "--num-workers", "0")
CODE = "[__import__('os').system('touch ran') + 20, 40]"  # without a slash: what looks like a path is dropped earlier


def entry_points(folder: Path, here: Path, path: Path) -> dict[str, list]:
    good = folder / "mt" / "checkpoint_last.pt"
    data, train = folder / "bin", [*NARROW, *TRAINING, "--max-update", "3", "--save-dir", here / "saved"]
    return {
        "generate": ["generate", data, "--path", path, "--gen-subset", "test", *DECODE],
        "ensemble": ["generate", data, "--path", f"{good}:{path}", "--gen-subset", "test", *DECODE],
        "interactive": ["interactive", data, "--path", path, "--input", here / "sources", *DECODE],
        "validate": ["validate", data, "--path", path, "--valid-subset", "valid", "--max-tokens", "400", "--cpu"],
        "restore": ["train", data, *train, "--restore-file", path],
        "finetune": ["train", data, *train, "--finetune-from-model", path],
        "average": ["average-checkpoints", "--inputs", path, good, "--output", here / "average.pt"],
        "dlcl": ["dlcl-weights", "--path", path],
        "analyze": ["analyze", "growth", "--path", path, "--data", data],
        "eval-lm": ["eval-lm", folder / "lm-bin", "--path", path, "--gen-subset", "test", "--cpu", *LM[2:]],
    }


DECODING = ("generate", "ensemble", "interactive", "validate")
LOADING = (*DECODING, "restore", "finetune", "average", "dlcl", "analyze")


def save(state: dict, path: Path) -> Path:
    torch.save(state, path)
    return path
