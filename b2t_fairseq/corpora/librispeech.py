"""LibriSpeech's seven archives, fetched, checked, unpacked, and made into features by `librispeech`.

Whatever interrupts the preparation, run the same command again to resume; steps that are done are kept. The folder's
`manifest.json` says what came from where. `--from` reads the archives, or the folder of unpacked splits.
All splits need 250 GB of free disk.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from ..common.command_line import positive
from ..common.errors import UserError
from .fetching.download import Source, obtain
from .fetching.extract import extract
from .fetching.manifest import Manifest, Published
from .fetching.prepared import TestSet, describe
from .fetching.steps import made_by, need_space_for_all, stamp_of, step
from .speech import layout as librispeech

MIRRORS = (
    "https://www.openslr.org/resources/12/",
    "https://us.openslr.org/resources/12/",
    "https://openslr.elda.org/resources/12/",
    "https://openslr.magicdatatech.com/resources/12/",
)
VOUCHED = "torchaudio 2.11.0 (datasets/librispeech.py)"
#: split -> bytes of its archive (tensorflow-datasets 4.9.10) and SHA-256
ARCHIVES = {
    "train-clean-100": (6_387_309_499, "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
    "train-clean-360": (23_049_477_885, "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"),
    "train-other-500": (30_593_501_606, "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"),
    "dev-clean": (337_926_286, "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
    "dev-other": (314_305_928, "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
    "test-clean": (346_663_984, "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
    "test-other": (328_757_843, "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
}
UTTERANCES = Published("training utterances", 281_241)
FEATURES = 3600 * 100 * 80 * 4  # bytes an hour: 100 frames a second of 80 floats
HOURS = 1000
PIECES = 10_000


def sources() -> dict[str, Source]:
    """Return split -> its archive."""
    return {
        split: Source(f"{split}.tar.gz", tuple(f"{m}{split}.tar.gz" for m in MIRRORS), size, f"sha256:{sum_}", VOUCHED)
        for split, (size, sum_) in ARCHIVES.items()
    }


def add_options(add: Callable[..., argparse.Action]) -> None:
    """Add the corpus' own options of `prepare`."""
    add("--splits", type=splits_of, default=tuple(ARCHIVES), metavar="A,B", help=f"(default: {','.join(ARCHIVES)})")
    add("--vocab-size", type=positive, default=PIECES, metavar="N", help="SentencePiece pieces (default: %(default)s)")
    add("--specaugment", choices=librispeech.SPECAUGMENT, default="ld", help="in training (default: %(default)s)")


def splits_of(text: str) -> tuple[str, ...]:
    """Parse names of splits, "train-clean-100,dev-clean" (an argparse type)."""
    splits = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in splits if name not in ARCHIVES]:
        raise argparse.ArgumentTypeError(f"no split {unknown[0]}; there are {', '.join(ARCHIVES)}")
    return splits


def prepare(
    manifest: Manifest,
    given: Path | None = None,
    workers: int = 1,
    vocab_size: int = PIECES,
    splits: Sequence[str] = tuple(ARCHIVES),
    specaugment: str = "ld",
    space: int | None = None,
) -> Path:
    """Write `audio` (unless it is given unpacked) and `data` into the manifest's folder; return `data`.

    Args:
        manifest: the record.
        given: folder with the archives, or with the unpacked splits.
        workers: processes.
        vocab_size: SentencePiece pieces.
        splits: which of the seven.
        specaugment: policy in training.
        space: bytes that must be free to begin (default: archives, what is in them, and features).
    """
    packed = sum(ARCHIVES[split][0] for split in splits)  # FLAC does not grow when it is unpacked
    features = HOURS * FEATURES * packed // sum(size for size, _ in ARCHIVES.values())
    need = features + packed * (1 if given else 2)
    need_space_for_all(manifest.folder, need if space is None else space, "data")
    if given is not None and all((librispeech.library(given) / split).is_dir() for split in splits):
        audio = librispeech.library(given)
        inputs = {split: transcripts(audio / split) for split in splits}
    else:
        known = sources()
        inputs = {split: made_by(unpacked(manifest, known[split], split, given)) for split in splits}
        audio = manifest.folder / "audio"

    def work(folder: Path) -> dict[str, int]:
        summaries = librispeech.prepare(audio, folder, vocab_size, specaugment, splits, workers)
        counts = {}
        for summary in summaries:
            counts |= {summary.split: summary.utterances, f"{summary.split} left out": len(summary.skipped)}
        return counts

    inputs |= {"pieces": vocab_size, "specaugment": specaugment, "splits": list(splits)}
    data = step(manifest, "data", inputs, work, resumes=True)
    counts = manifest.content["steps"]["data"]["counts"]
    training = [split for split in splits if split.startswith("train")]
    if len(training) == 3:
        utterances = sum(counts[split] + counts[f"{split} left out"] for split in training)
        manifest.check(UTTERANCES, utterances)
    tests = [split for split in splits if split not in training]
    describe(manifest, {split: TestSet(split, data / f"{split}.tsv") for split in tests})
    return data


def unpacked(manifest: Manifest, source: Source, split: str, given: Path | None) -> Path:
    """Return `audio/SPLIT`: speaker/chapter/*.flac and transcripts."""
    packed = obtain(source, manifest, given)

    def keep(name: str) -> str | None:
        parts = Path(name).parts
        return str(Path(*parts[2:])) if parts[:2] == ("LibriSpeech", split) and len(parts) > 2 else None

    def work(folder: Path) -> dict[str, int]:
        counts = extract(packed, folder, keep)
        if not counts["files"]:
            raise UserError(f"{packed} has no LibriSpeech/{split}: it is not the published archive")
        return counts

    return step(manifest, f"audio/{split}", {"archive": manifest.content["sources"][source.name]["sha256"]}, work)


def transcripts(folder: Path) -> list:
    """Return name, size and time of the transcripts of a given split: enough to see that it is another one."""
    return list(itertools.chain.from_iterable(stamp_of(path) for path in sorted(folder.glob("*/*/*.trans.txt"))))
