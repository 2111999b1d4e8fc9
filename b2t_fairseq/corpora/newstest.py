"""The test sets newstest2010-2016 for English-German, through sacrebleu: the same lines that its scores are of.

Archives come from sacrebleu's addresses, are checked by sacrebleu's MD5 sums and unpacked where sacrebleu looks for
them (`$SACREBLEU` or `~/.sacrebleu`), so scoring needs no second download. newstest2014 is `wmt14/full`.
"""

import shutil
from pathlib import Path

from ..common.errors import UserError
from ..common.files import disk_full_as_one_line, replacing
from .fetching.download import Source, obtain
from .fetching.extract import extract
from .fetching.manifest import Manifest, say
from .fetching.parts import count_lines

NAMES = {2010: "wmt10", 2011: "wmt11", 2012: "wmt12", 2013: "wmt13", 2014: "wmt14/full", 2015: "wmt15", 2016: "wmt16"}
SENTENCES = {2010: 2489, 2011: 3003, 2012: 3003, 2013: 3000, 2014: 3003, 2015: 2169, 2016: 2999}
PAIR = "en-de"


def fetch_test_set(year: int, manifest: Manifest, given: Path | None) -> dict[str, Path]:
    """Return the source and the reference of one year: {"en": file, "de": file}.

    `given` may hold newstestYEAR.en and .de, or sacrebleu's archive under the name that sacrebleu gives it,
    `wmt14_full.test-full.tgz`. What sacrebleu has already is used.

    Raises:
        UserError: it cannot be fetched, or its two sides differ in length.
    """
    name = f"newstest{year}"
    own = {side: given / f"{name}.{side}" for side in ("en", "de")} if given else {}
    files = own if own and all(path.is_file() for path in own.values()) else from_sacrebleu(year, manifest, given)
    lengths = {side: count_lines(path) for side, path in files.items()}
    if lengths["en"] != lengths["de"] or not lengths["en"]:
        raise UserError(
            f"{files['en']} has {lengths['en']} lines and {files['de']} has {lengths['de']}: delete the folder "
            f"{files['en'].parent} and run again"
        )
    return files


def from_sacrebleu(year: int, manifest: Manifest, given: Path | None) -> dict[str, Path]:
    """Return sacrebleu's own text files of one year; we fetch the archive, as sacrebleu cannot resume a download."""
    from sacrebleu import utils
    from sacrebleu.dataset import DATASETS

    dataset = DATASETS[NAMES[year]]
    home = Path(utils.SACREBLEU_DIR) / dataset.name
    label = dataset.name.replace("/", "_")
    texts = {side: home / f"{label}.{PAIR}.{field}" for side, field in (("en", "src"), ("de", "ref"))}
    if all(path.is_file() and path.stat().st_size for path in texts.values()):
        if count_lines(texts["en"]) == count_lines(texts["de"]):
            say(f"newstest{year}: sacrebleu has it, in {home}")
            return texts
        for path in texts.values():  # sacrebleu was interrupted while it wrote them, and would keep them
            path.unlink()
    for url, md5 in zip(dataset.data, dataset.md5 or [None] * len(dataset.data), strict=True):
        archive = f"{label}.{url.rpartition('/')[2]}"
        if (home / "raw" / archive).is_file() and all((home / "raw" / p).is_file() for p in dataset.langpairs[PAIR]):
            continue
        source = Source(archive, mirrors(url), None, f"md5:{md5}" if md5 else None, "sacrebleu" if md5 else None)
        packed = obtain(source, manifest, given if given and any(given.rglob(archive)) else None)
        with disk_full_as_one_line(home):
            extract(packed, home / "raw")
            with replacing(home / "raw" / archive) as temporary:
                shutil.copyfile(packed, temporary)
    try:
        sides = utils.get_source_file(dataset.name, PAIR), *utils.get_reference_files(dataset.name, PAIR)
    except (OSError, SystemExit) as error:
        raise UserError(f"sacrebleu cannot make {dataset.name} ({error}): delete {home} and run again") from None
    return {"en": Path(sides[0]), "de": Path(sides[1])}


def mirrors(url: str) -> tuple[str, ...]:
    """Return sacrebleu's address and the site's other names."""
    for one, other in (("https://statmt.org/", "https://www.statmt.org/"), ("https://data.", "http://data.")):
        if url.startswith(one):
            return tuple(dict.fromkeys((url, url.replace(one, other, 1), url.replace("https://", "http://", 1))))
    return (url,)
