"""Headline generation on Gigaword as the paper trains on it: 3.8 M pairs, joint BPE 32k, binarised.

The text is tokenised and lower-cased already, its digits are `#`. All pairs are kept. Additional pairs, the paper's
13 M of RealNews and NewsCrawl, come as files of `news_headlines` and are added to the training set.

Whatever interrupts the preparation, run the same command again to resume; steps that are done are kept. The folder's
`manifest.json` says what came from where. `--from` reads `ggw_data.zip`, `summary.tar.gz`, or their files.
The corpus needs 8 GB of free disk.
"""

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ..common.command_line import positive
from ..common.errors import UserError
from . import bpe, headlines
from .fetching.binarise import binarise, same_counts
from .fetching.download import Source, obtain
from .fetching.extract import extract
from .fetching.manifest import Manifest, Published
from .fetching.parts import count_lines
from .fetching.prepared import TestSet, describe
from .fetching.steps import counts_of, made_by, need_space_for_all, stamp_of, step

SIDES = ("article", "title")
SPLITS = ("train", "valid", "test")
PUBLISHED = {
    "train": Published("training pairs", 3_800_000, 50_000),
    "test": Published("test pairs", 1951),
}
MERGES = 32_000
DRIVE = "1USoQ8lJgN8kAWnUnRrupMGrPMLlDVqlV"
ARCHIVE = Source(
    "ggw_data.zip",
    (
        f"https://drive.usercontent.google.com/download?id={DRIVE}&export=download&confirm=t",
        f"https://drive.google.com/uc?export=download&confirm=t&id={DRIVE}",
    ),
    578_402_958,
    "sha256:bc0c4a2e1aa19cf2123688b87bc2d778c0d8fc24a4090e3c10a27c5faa1b898b",
    "tensorflow-datasets 4.9.10",
)
SUMMARY = "summary.tar.gz"  # the other archive of the same data, with another layout
#: split -> the names its files have in the archive
NAMES = {
    split: tuple(f"{name}.{side}.txt" for side in ("src", "tgt"))
    for split, name in zip(SPLITS, ("train", "dev", "test"), strict=True)
}
SPACE = 8_000_000_000


def add_options(add: Callable[..., argparse.Action]) -> None:
    """Add the corpus' own options of `prepare`."""
    add("--merges", type=positive, default=MERGES, metavar="N", help="joint BPE merges (default: %(default)s)")
    more = (
        "more training pairs, PREFIX.article and PREFIX.title, as `prepare news_headlines` makes them; may be repeated"
    )
    add("--extra", type=Path, action="append", default=[], metavar="PREFIX", help=more)


def prepare(
    manifest: Manifest,
    given: Path | None = None,
    workers: int = 1,
    merges: int = MERGES,
    extra: Sequence[Path] = (),
    space: int | None = None,
) -> Path:
    """Write `text`, `subwords` and `data-bin` into the manifest's folder; return `data-bin`.

    Args:
        manifest: the record.
        given: folder with the archive, or with its files in either layout.
        workers: processes.
        merges: of the joint BPE.
        extra: prefixes of additional training pairs, PREFIX.article and PREFIX.title.
        space: bytes that must be free to begin (default: what the corpus needs).
    """
    more = sum(5 * path.stat().st_size for pair in map(pair_of, extra) for path in pair)
    need_space_for_all(manifest.folder, SPACE + more if space is None else space, "data-bin")
    files = find_files(manifest, given)
    stamps = {split: [made_by(path.parent) or stamp_of(path) for path in pair] for split, pair in files.items()}

    def text(folder: Path) -> dict[str, int]:
        counts = {}
        for split, pair in files.items():
            counts[split] = copy_pairs([pair], folder / split)
        if extra:
            counts["additional"] = copy_pairs([pair_of(prefix) for prefix in extra], folder / "train", append=True)
        return counts

    added = [stamp_of(path) for pair in map(pair_of, extra) for path in pair]
    texts = step(manifest, "text", {"files": stamps, "extra": added}, text)
    for split, published in PUBLISHED.items():
        manifest.check(published, counts_of(texts)[split])

    def subwords(folder: Path) -> dict[str, float]:
        counts = bpe.learn([texts / f"train.{side}" for side in SIDES], folder / "codes", merges, workers)
        for split in SPLITS:
            for side in SIDES:
                speed = bpe.apply(texts / f"{split}.{side}", folder / f"{split}.{side}", folder / "codes", workers)
                if split == "train":
                    counts[f"{side} lines per second"] = speed["lines per second"]
        return counts

    encoded = step(manifest, "subwords", {"text": made_by(texts), "merges": merges}, subwords)

    def work(folder: Path) -> dict[str, int]:
        command = ["--source-lang", SIDES[0], "--target-lang", SIDES[1], "--joined-dictionary"]
        for split in SPLITS:
            command += [f"--{split}pref", encoded / split]
        counts = binarise(folder, command, workers)
        same_counts(counts, {f"{split}.{side}": encoded / f"{split}.{side}" for split in SPLITS for side in SIDES})
        shutil.copyfile(encoded / "codes", folder / "codes")
        return {**counts, "dictionary": count_lines(folder / f"dict.{SIDES[0]}.txt")}

    folder = step(manifest, "data-bin", {"subwords": made_by(encoded)}, work)
    describe(manifest, {"test": TestSet("test", texts / f"test.{SIDES[1]}")})
    return folder


def pair_of(prefix: Path) -> tuple[Path, Path]:
    """Return PREFIX.article and PREFIX.title, which must be there."""
    pair = tuple(prefix.with_name(f"{prefix.name}.{side}") for side in SIDES)
    if missing := [path for path in pair if not path.is_file()]:
        raise UserError(f"--extra {prefix}: there is no {missing[0]}; make it with `prepare news-headlines`")
    return pair


def find_files(manifest: Manifest, given: Path | None) -> dict[str, tuple[Path, Path]]:
    """Return split -> (articles, titles): of the given folder, of an archive in it, or of the fetched archive."""
    if given is not None:
        if files := files_in(given):
            return files
        if not any(given.rglob(ARCHIVE.name)) and (packed := next(iter(sorted(given.rglob(SUMMARY))), None)):
            other = Source(SUMMARY, ())
            return unpacked(manifest, obtain(other, manifest, packed.parent), other)
    return unpacked(manifest, obtain(ARCHIVE, manifest, given), ARCHIVE)


def unpacked(manifest: Manifest, packed: Path, source: Source) -> dict[str, tuple[Path, Path]]:
    """Return the files of an archive, in the step `archive`."""

    def work(folder: Path) -> dict[str, int]:
        return extract(packed, folder, lambda name: Path(name).name if is_wanted(name) else None)

    folder = step(manifest, "archive", {"archive": manifest.content["sources"][source.name]["sha256"]}, work)
    if files := files_in(folder):
        return files
    raise UserError(
        f"{packed} has no {' and '.join(NAMES['train'])}, or not all splits: it is not the published archive"
    )


def is_wanted(name: str) -> bool:
    """Return whether a member of either archive is one of the splits."""
    names = {name for pair in NAMES.values() for name in pair}
    names |= {name for choices in headlines.GIGAWORD.values() for pair in choices for name in pair}
    inside = Path(name).parts
    return inside[-1] in names and not any(part.startswith(("DUC", "__MACOSX")) for part in inside)


def files_in(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return split -> (articles, titles) if all are somewhere below the folder, in either layout; else nothing."""
    files = {}
    for split in SPLITS:
        for names in (NAMES[split], *headlines.GIGAWORD[split]):
            places = sorted(path.parent for path in folder.rglob(names[0]) if (path.parent / names[1]).is_file())
            if places and split not in files:
                files[split] = (places[0] / names[0], places[0] / names[1])
    return files if len(files) == len(SPLITS) else {}


def copy_pairs(pairs: Sequence[tuple[Path, Path]], prefix: Path, append: bool = False) -> int:
    """Write PREFIX.article and PREFIX.title with single spaces and UNK for `<unk>`; return the number of pairs.

    A pair with an empty side would end fairseq's training; it becomes the word UNK, and every pair keeps its line.
    """
    mode = "a" if append else "w"
    targets = [prefix.with_name(f"{prefix.name}.{side}") for side in SIDES]
    number = 0
    with open(targets[0], mode, encoding="utf-8") as articles, open(targets[1], mode, encoding="utf-8") as titles:
        for pair in pairs:
            lengths = [count_lines(path) for path in pair]
            if lengths[0] != lengths[1] or not lengths[0]:
                raise UserError(f"{pair[0]} has {lengths[0]} lines and {pair[1]} has {lengths[1]}: fetch them again")
            with open(pair[0], "rb") as first, open(pair[1], "rb") as second:
                for lines in zip(first, second, strict=True):
                    for line, file, path in zip(lines, (articles, titles), pair, strict=True):
                        file.write(normal(line, path) + "\n")
                    number += 1
    return number


def normal(line: bytes, path: Path) -> str:
    """Return one line of the data as the model reads it."""
    try:
        text = headlines.parallel_text.clean(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{path} is not valid UTF-8: {line[:40]!r}; fetch it again") from None
    return text.replace("<unk>", "UNK") or "UNK"
