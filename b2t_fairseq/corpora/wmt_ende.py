"""WMT'16 English-German as the paper trains on it, binarised.

By default the ready-made archive that the paper's authors used: tokenised, cleaned, 32,000 joint merges. `--from-raw`
builds the same from Europarl v7, Common Crawl and News Commentary v11: Moses tokens, pairs of 1-80 words, joint BPE
learned here. Either way newstest2013 is the validation set and newstest2010-2016 are tokenised, encoded with the same
codes and binarised as test, test1, …; their raw text, which SacreBLEU scores against, is in `tests`.

Whatever interrupts the preparation, run the same command again to resume; steps that are done are kept. The folder's
`manifest.json` says what came from where. `--from` reads the archives, or what is in them (test sets:
`newstestYEAR.en` and `.de`, or what sacrebleu has in `$SACREBLEU`).
The corpus needs 12 GB of free disk, with `--from-raw` 16 GB.
"""

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ..common.command_line import positive
from ..common.errors import UserError
from . import bpe, moses
from .fetching.binarise import binarise, same_counts
from .fetching.download import Source, obtain
from .fetching.extract import extract
from .fetching.manifest import Manifest, Published
from .fetching.parts import count_lines
from .fetching.prepared import TestSet, describe
from .fetching.steps import counts_of, made_by, need_space_for_all, stamp_of, step
from .newstest import SENTENCES, fetch_test_set

SIDES = ("en", "de")
YEARS = tuple(range(2010, 2017))
PAIRS = Published("training pairs", 4_500_000, 50_000)
MERGES, WORDS = 32_000, 32_768  # the joined dictionary is cut at `WORDS`, as in the released commands
TRAIN, VALID, CODES = "train.tok.clean.bpe.32000", "newstest2013.tok.bpe.32000", "bpe.32000"
DRIVE = "0B_bZck-ksdkpM25jRUN2X2UxMm8"
READY = Source(
    "wmt16_en_de.tar.gz",
    (
        f"https://drive.usercontent.google.com/download?id={DRIVE}&export=download&confirm=t",
        f"https://drive.google.com/uc?export=download&confirm=t&id={DRIVE}",
    ),
)
VOUCHED = "tensorflow-datasets 4.9.10"


def statmt(path: str, size: int, sha256: str) -> Source:
    """Return a training corpus of the WMT workshop."""
    host = "data.statmt.org" if path.startswith("wmt16") else "www.statmt.org"
    urls = tuple(f"{scheme}://{host}/{path}" for scheme in ("https", "http"))
    return Source(path.rpartition("/")[2], urls, size, f"sha256:{sha256}", VOUCHED)


#: archive -> the stem of its English-German files
RAW = {
    statmt(
        "wmt13/training-parallel-europarl-v7.tgz",
        657_632_379,
        "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
    ): "europarl-v7.de-en",
    statmt(
        "wmt13/training-parallel-commoncrawl.tgz",
        918_311_367,
        "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
    ): "commoncrawl.de-en",
    statmt(
        "wmt16/translation-task/training-parallel-nc-v11.tgz",
        75_178_032,
        "cfe8ab047e05043476e498ee765c98e939c7b7d6d294e856344c84476b619d6a",
    ): "news-commentary-v11.de-en",
}
SPACE = {"ready": 12_000_000_000, "raw": 16_000_000_000}  # of everything together, downloads included


def add_options(add: Callable[..., argparse.Action]) -> None:
    """Add the corpus' own options of `prepare`."""
    add("--from-raw", action="store_true", help="build from raw text instead of the ready-made archive")
    add("--merges", type=positive, default=MERGES, metavar="N", help="with --from-raw (default: %(default)s)")
    add(
        "--years", type=years_of, default=YEARS, metavar="A,B", help="test sets (default: 2010,...,2016; none: no test)"
    )


def years_of(text: str) -> tuple[int, ...]:
    """Parse years of test sets, "2010,2014", or "none" (an argparse type)."""
    years = () if text == "none" else tuple(sorted({int(y) if y.isdecimal() else 0 for y in text.split(",")}))
    if unknown := set(years) - set(YEARS):
        raise argparse.ArgumentTypeError(f"{text}: not from 2010 to 2016, separated by commas ({sorted(unknown)})")
    return years


def prepare(
    manifest: Manifest,
    given: Path | None = None,
    workers: int = 1,
    from_raw: bool = False,
    merges: int = MERGES,
    years: Sequence[int] = YEARS,
    space: int | None = None,
) -> Path:
    """Write `data-bin` and `tests` into the manifest's folder; return `data-bin`.

    Args:
        manifest: the record.
        given: folder with the archives, or with what is in them.
        workers: processes.
        from_raw: build from raw text.
        merges: for `from_raw`.
        years: test sets to fetch.
        space: bytes that must be free to begin (default: what the corpus needs).
    """
    need_space_for_all(manifest.folder, SPACE["raw" if from_raw else "ready"] if space is None else space, "data-bin")
    tests = tests_step(manifest, given, years if 2013 in years or not from_raw else [*years, 2013])
    for year, number in counts_of(tests).items():
        manifest.check(Published(f"{year} sentences", SENTENCES[int(year.removeprefix("newstest"))]), number)
    if from_raw:
        texts, train, codes, valid = raw_steps(manifest, given, tests, merges, workers)
    else:
        texts = ready_step(manifest, given)
        train, codes, valid = texts / TRAIN, texts / CODES, texts / VALID
    encoded = encode_tests(manifest, tests, codes, made_by(texts), years, workers)
    manifest.check(PAIRS, count_lines(suffixed(train, "en")))
    prefixes = [encoded / f"newstest{year}" for year in years]

    def work(folder: Path) -> dict[str, int]:
        splits = {"train": train, "valid": valid}
        splits |= {f"test{number or ''}": prefix for number, prefix in enumerate(prefixes)}
        files = {f"{split}.{side}": suffixed(prefix, side) for split, prefix in splits.items() for side in SIDES}
        command = ["--source-lang", "en", "--target-lang", "de", "--trainpref", train, "--validpref", valid]
        if prefixes:
            command += ["--testpref", ",".join(map(str, prefixes))]
        command += ["--joined-dictionary", "--nwordssrc", WORDS, "--nwordstgt", WORDS]
        counts = binarise(folder, command, workers)
        same_counts(counts, files)
        shutil.copyfile(codes, folder / "codes")
        words = count_lines(folder / "dict.en.txt")
        return {**counts, "dictionary": words}

    inputs = {"texts": made_by(texts), "tests": made_by(encoded), "words": WORDS, "years": list(years)}
    folder = step(manifest, "data-bin", inputs, work)
    references = {f"newstest{year}": tests / f"newstest{year}.de" for year in years}
    describe(manifest, {name: TestSet(f"test{n or ''}", path) for n, (name, path) in enumerate(references.items())})
    return folder


def suffixed(prefix: Path, side: str) -> Path:
    """Return `prefix.en`; Path.with_suffix would cut a part of the name."""
    return prefix.with_name(f"{prefix.name}.{side}")


def tests_step(manifest: Manifest, given: Path | None, years: Sequence[int]) -> Path:
    """Return `tests/newstestYEAR.{en,de}`, raw."""

    def work(folder: Path) -> dict[str, int]:
        counts = {}
        for year in sorted(years):
            for side, path in fetch_test_set(year, manifest, given).items():
                shutil.copyfile(path, folder / f"newstest{year}.{side}")
            counts[f"newstest{year}"] = count_lines(folder / f"newstest{year}.en")
        return counts

    own = sorted(given.glob("newstest20*.??")) if given else []
    return step(manifest, "tests", {"years": sorted(years), "files": [stamp_of(path) for path in own]}, work)


def ready_step(manifest: Manifest, given: Path | None) -> Path:
    """Return `archive`: what is needed of the ready-made archive; a folder that holds the files is used as it is."""
    wanted = [f"{stem}.{side}" for stem in (TRAIN, VALID) for side in SIDES] + [CODES]
    if given is not None and not any(given.rglob(READY.name)):
        paths = {name: next(iter(sorted(given.rglob(name))), None) for name in wanted}
        if missing := [name for name, path in paths.items() if path is None]:
            raise UserError(f"{given} has neither {READY.name} nor {', '.join(missing)}: add one of them")
        inputs = {"files": [stamp_of(path) for path in paths.values()]}

        def work(folder: Path) -> None:
            for name, path in paths.items():
                (folder / name).symlink_to(path.resolve())
    else:
        packed = obtain(READY, manifest, given)
        inputs = {"archive": manifest.content["sources"][READY.name]["sha256"]}

        def work(folder: Path) -> dict[str, int]:
            counts = extract(packed, folder, lambda name: Path(name).name if Path(name).name in wanted else None)
            if missing := [name for name in wanted if not (folder / name).is_file()]:
                raise UserError(f"{packed} has no {', '.join(missing)}: it is not the archive of preprocessed WMT'16")
            return counts

    return step(manifest, "archive", inputs, work)


def raw_steps(
    manifest: Manifest, given: Path | None, tests: Path, merges: int, workers: int
) -> tuple[Path, Path, Path, Path]:
    """Go from raw text to subwords; return (last step's folder, training prefix, codes, validation prefix)."""
    files = {stem: raw_files(manifest, given, source, stem) for source, stem in RAW.items()}

    def tokens(folder: Path) -> dict[str, int]:
        counts, parts = {}, {side: [] for side in SIDES}
        for stem, sides in files.items():
            lengths = [count_lines(path) for path in sides]
            if lengths[0] != lengths[1]:
                raise UserError(f"{sides[0]} has {lengths[0]} lines and {sides[1]} has {lengths[1]}: fetch them again")
            for side, path in zip(SIDES, sides, strict=True):
                parts[side].append(folder / f"{stem}.{side}")
                moses.tokenise(path, parts[side][-1], side, workers)
            counts[stem] = lengths[0]
        for side in SIDES:
            join(parts[side], folder / f"all.{side}")
        return counts

    origins = [made_by(path.parent) or stamp_of(path) for sides in files.values() for path in sides]
    tokenised = step(manifest, "tokenised", {"files": origins}, tokens)
    limits = {"longest": moses.LONGEST, "ratio": moses.RATIO}

    def clean(folder: Path) -> dict[str, int]:
        pair = [
            tuple(place / f"{name}.{side}" for side in SIDES) for place, name in ((tokenised, "all"), (folder, "train"))
        ]
        return moses.keep_good_pairs(*pair)

    cleaned = step(manifest, "cleaned", {"from": made_by(tokenised), **limits}, clean)

    def subwords(folder: Path) -> dict[str, float]:
        texts = [cleaned / f"train.{side}" for side in SIDES]
        counts = bpe.learn(texts, folder / CODES, merges, workers)
        for side, text in zip(SIDES, texts, strict=True):
            speed = bpe.apply(text, folder / f"train.{side}", folder / CODES, workers)
            counts[f"{side} lines per second"] = speed["lines per second"]
            raw, words = tests / f"newstest2013.{side}", folder / f"newstest2013.tok.{side}"
            moses.tokenise(raw, words, side, 1)
            bpe.apply(words, folder / f"valid.{side}", folder / CODES, 1)
        return counts

    encoded = step(
        manifest, "subwords", {"from": made_by(cleaned), "tests": made_by(tests), "merges": merges}, subwords
    )
    return encoded, encoded / "train", encoded / CODES, encoded / "valid"


def raw_files(manifest: Manifest, given: Path | None, source: Source, stem: str) -> tuple[Path, Path]:
    """Return the English and the German file of one corpus, from the given folder or unpacked."""
    wanted = [f"{stem}.{side}" for side in SIDES]
    if given is not None:
        paths = [next(iter(sorted(given.rglob(name))), None) for name in wanted]
        if all(paths):
            return paths[0], paths[1]
    packed = obtain(source, manifest, given)

    def work(folder: Path) -> dict[str, int]:
        counts = extract(packed, folder, lambda name: Path(name).name if Path(name).name in wanted else None)
        if missing := [name for name in wanted if not (folder / name).is_file()]:
            raise UserError(f"{packed} has no {' and no '.join(missing)}: it is not the published archive")
        return counts

    inputs = {"archive": manifest.content["sources"][source.name]["sha256"]}
    folder = step(manifest, f"raw/{stem}", inputs, work)
    return folder / wanted[0], folder / wanted[1]


def encode_tests(
    manifest: Manifest, tests: Path, codes: Path, made_from: str, years: Sequence[int], workers: int
) -> Path:
    """Return `tests-subwords`: the test sets tokenised and encoded."""

    def work(folder: Path) -> dict[str, int]:
        for year in years:
            for side in SIDES:
                words = folder / f"newstest{year}.tok.{side}"
                moses.tokenise(tests / f"newstest{year}.{side}", words, side, workers)
                bpe.apply(words, folder / f"newstest{year}.{side}", codes, workers)
        return counts_of(tests)

    return step(manifest, "tests-subwords", {"tests": made_by(tests), "codes": made_from, "years": list(years)}, work)


def join(parts: Sequence[Path], target: Path) -> None:
    """Put files one after the other and take the parts away."""
    with open(target, "wb") as file:
        for part in parts:
            with open(part, "rb") as content:
                shutil.copyfileobj(content, file, 1 << 20)
            part.unlink()
