"""The paper's corpora end to end: small archives of the same layout, from a server or a folder, to binarised data."""

import ast
import dataclasses
import hashlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from flaky_server import serving

from b2t_fairseq import UserError, cli
from b2t_fairseq.corpora import bpe, gigaword, moses, newstest, wikitext103, wmt_ende
from b2t_fairseq.corpora import librispeech as librispeech_download
from b2t_fairseq.corpora.fetching import download

EN = ["The house is small .", "I have a dog &amp; two cats .", "She said it &apos;s over ."]
DE = ["Das Haus ist klein .", "Ich habe einen Hund und zwei Katzen .", "Sie sagte , es sei vorbei ."]


def lines(templates, number):
    return "".join(f"{templates[n % len(templates)]} {n}\n" for n in range(number)).encode()


def packed(path, files):
    """A tar.gz or zip of such files; returns its bytes."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path.read_bytes()


def served(source, url, content, checksum=True):
    """The same source at another address with the stand-in's size and checksum; first a dead mirror."""
    found = f"sha256:{hashlib.sha256(content).hexdigest()}" if checksum else None
    urls = ("http://127.0.0.1:9/dead", url)
    return dataclasses.replace(source, urls=urls, size=None, checksum=found, vouched_by="the test" if found else None)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAIT", 0.01)
    with serving() as server:
        yield server


@pytest.fixture
def test_sets(monkeypatch, tmp_path, server):
    """sacrebleu's archives of seven years, with n sentences in year 2000 + n, and sacrebleu's folder elsewhere."""
    from sacrebleu import utils
    from sacrebleu.dataset import DATASETS

    home = tmp_path / "sacre bleu"
    monkeypatch.setattr(utils, "SACREBLEU_DIR", str(home))
    for year, name in newstest.NAMES.items():
        dataset = DATASETS[name]
        files = {}
        for path, text in zip(dataset.langpairs["en-de"], (EN, DE), strict=True):
            rows = lines(text, year - 2000).decode().splitlines()
            segments = "\n".join(f'<seg id="{n}">{row}</seg>' for n, row in enumerate(rows, 1))
            files[path] = f'<srcset>\n<doc docid="d" genre="news" origlang="en">\n{segments}\n</doc>\n'.encode()
        (tmp_path / "packing").mkdir(exist_ok=True)
        content = packed(tmp_path / "packing" / "test.tgz", files)
        url = server.add(f"{name}/{dataset.data[0].rpartition('/')[2]}", content, cuts=[100] if year == 2012 else [])
        monkeypatch.setattr(dataset, "data", [url])
        monkeypatch.setattr(dataset, "md5", [hashlib.md5(content).hexdigest()])
        monkeypatch.setattr(dataset, "_outdir", str(home / name))
        monkeypatch.setattr(dataset, "_rawdir", str(home / name / "raw"))
    return home


def prepared(*arguments):
    """Runs the command; returns its exit status."""
    return cli.main(["prepare", *map(str, arguments), "--workers", "1", "--need-free-gb", "0"])


def count_only(folder, arguments, workers):
    """Where only the text matters: no binarised data."""
    (folder / "dict.en.txt").write_text("")
    (folder / "dict.article.txt").write_text("")
    return {}


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def ready_archive(tmp_path):
    """The layout of the authors' archive, with files that are not needed."""
    (tmp_path / "en").write_bytes(lines(EN, 60))
    (tmp_path / "de").write_bytes(lines(DE, 60))
    bpe.learn([tmp_path / "en", tmp_path / "de"], tmp_path / "codes", 80, 1)
    files = {"bpe.32000": (tmp_path / "codes").read_bytes(), "vocab.bpe.32000": b"x\n", "newstest2014.tok.en": b"x\n"}
    for side in ("en", "de"):
        bpe.apply(tmp_path / side, tmp_path / "encoded", tmp_path / "codes", 1)
        files[f"train.tok.clean.bpe.32000.{side}"] = (tmp_path / "encoded").read_bytes()
        files[f"newstest2013.tok.bpe.32000.{side}"] = b"".join(
            (tmp_path / "encoded").read_bytes().splitlines(True)[:13]
        )
    return packed(tmp_path / "ready.tar.gz", files), files


@pytest.mark.slow
def test_wmt_from_the_ready_made_archive(server, test_sets, tmp_path, monkeypatch, capsys):
    content, files = ready_archive(tmp_path)
    url = server.add("wmt16_en_de.tar.gz", content, cuts=[1000, 500])
    monkeypatch.setattr(wmt_ende, "READY", served(wmt_ende.READY, url, content, checksum=False))
    out = tmp_path / "an output folder"
    assert prepared("wmt-ende", "--output", out) == 0
    told = capsys.readouterr().err
    assert "training pairs: 60, but 4,500,000 (± 50,000) are published" in told and "unverified" in told
    made = manifest_of(out)
    counts = made["steps"]["data-bin"]["counts"]
    assert counts["train.en lines"] == counts["train.de lines"] == 60 and counts["valid.de lines"] == 13
    assert [counts[f"test{n or ''}.en lines"] for n in range(7)] == [10, 11, 12, 13, 14, 15, 16]
    assert (out / "data-bin" / "dict.en.txt").read_bytes() == (out / "data-bin" / "dict.de.txt").read_bytes()
    assert not (out / "archive" / "vocab.bpe.32000").exists()
    # the test sets: raw text is sacrebleu's, subwords are those of the archive's codes
    assert (out / "tests" / "newstest2014.de").read_bytes() == lines(DE, 14)
    tokens = moses.tokeniser("en")(EN[0] + " 0").strip()
    encoded = (out / "tests-subwords" / "newstest2010.en").read_text().splitlines()[0]
    assert encoded.replace("@@ ", "") == tokens
    assert "@@ " in (out / "tests-subwords" / "newstest2016.en").read_text()
    assert made["sources"]["wmt14_full.test-full.tgz"]["verified"].endswith("from sacrebleu")
    assert made["sources"]["wmt16_en_de.tar.gz"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert made["checks"]["newstest2016 sentences"] == {"found": 16, "published": 2999, "within": 0, "agrees": False}
    assert {"python", "sacrebleu", "sacremoses", "subword-nmt"} <= set(made["versions"])
    # again: nothing is fetched, nothing is made, and the warnings are still told
    before, asked = os.stat(out / "data-bin").st_mtime_ns, len(server.asked)
    assert prepared("wmt-ende", "--output", out) == 0
    assert os.stat(out / "data-bin").st_mtime_ns == before and len(server.asked) == asked
    assert "training pairs: 60" in capsys.readouterr().err
    # from a folder with what was in the archive; sacrebleu has its test sets; other years make other data
    given = tmp_path / "given files"
    given.mkdir()
    for name, inside in files.items():
        (given / name).write_bytes(inside)
    assert prepared("wmt-ende", "--output", tmp_path / "2", "--from", given, "--years", "2014") == 0
    assert manifest_of(tmp_path / "2")["steps"]["data-bin"]["counts"]["test.en lines"] == 14
    assert len(server.asked) == asked


@pytest.mark.slow
def test_wmt_from_raw_text(server, test_sets, tmp_path, monkeypatch):
    raw = {}
    for (source, stem), number in zip(wmt_ende.RAW.items(), (30, 20, 10), strict=True):
        sides = {
            "en": lines(["It's small, isn't it?", "A dog."], number),
            "de": lines(["Es ist klein.", "Ein Hund."], number),
        }
        sides["en"] += b"\n" + b"too " * 90 + b"long\n"
        sides["de"] += b"leer\n" + b"zu lang\n"
        files = {f"training/{stem}.{side}": text for side, text in sides.items()} | {"training/other.fr-en.fr": b"x\n"}
        content = packed(tmp_path / "raw.tgz", files)
        raw[served(source, server.add(source.name, content), content)] = stem
    monkeypatch.setattr(wmt_ende, "RAW", raw)
    out = tmp_path / "out"
    assert prepared("wmt-ende", "--output", out, "--from-raw", "--merges", "50", "--years", "2014") == 0
    steps = manifest_of(out)["steps"]
    assert steps["cleaned"]["counts"] == {"pairs": 60, "left out": 6}
    assert (out / "tokenised" / "all.en").read_text().splitlines()[0] == "It &apos;s small , isn &apos;t it ? 0"
    assert steps["data-bin"]["counts"]["valid.en lines"] == 13 and steps["data-bin"]["counts"]["train.de lines"] == 60
    assert steps["subwords"]["counts"]["en lines per second"] > 0
    train = (out / "subwords" / "train.en").read_text()
    assert train.replace("@@ ", "") == (out / "cleaned" / "train.en").read_text()
    monkeypatch.setattr(wmt_ende, "binarise", count_only)
    monkeypatch.setattr(wmt_ende, "same_counts", lambda *_: None)
    assert prepared("wmt-ende", "--output", out, "--from-raw", "--merges", "40", "--years", "2014") == 0
    later = manifest_of(out)["steps"]
    assert later["tokenised"] == steps["tokenised"] and later["subwords"] != steps["subwords"]


@pytest.mark.parametrize("archive", ["ggw_data.zip", "summary.tar.gz"])
@pytest.mark.slow
def test_gigaword(server, tmp_path, monkeypatch, capsys, archive):
    articles, titles = ["the house of mr. <unk> is #.# meters", "a dog barked"], ["house small", "dog barks"]
    if archive == "ggw_data.zip":
        names = [(f"org_data/{split}.src.txt", f"org_data/{split}.tgt.txt") for split in ("train", "dev", "test")]
    else:
        names = [
            ("sumdata/train/train.article.txt", "sumdata/train/train.title.txt"),
            ("sumdata/train/valid.article.filter.txt", "sumdata/train/valid.title.filter.txt"),
            ("sumdata/Giga/input.txt", "sumdata/Giga/task1_ref0.txt"),
        ]
    files = {"sumdata/DUC2003/input.txt": b"x\n", "sumdata/DUC2003/task1_ref0.txt": b"x\n"}
    for (article, title), number in zip(names, (50, 8, 5), strict=True):
        files |= {article: lines(articles, number), title: lines(titles, number)}
    content = packed(tmp_path / archive, files)
    given = []
    if archive == "ggw_data.zip":
        url = server.add(archive, content, cuts=[500])
        monkeypatch.setattr(gigaword, "ARCHIVE", served(gigaword.ARCHIVE, url, content))
    else:
        (tmp_path / "my files").mkdir()
        (tmp_path / archive).rename(tmp_path / "my files" / archive)
        given = ["--from", tmp_path / "my files"]
        monkeypatch.setattr(gigaword, "binarise", count_only)
        monkeypatch.setattr(gigaword, "same_counts", lambda *_: None)
    (tmp_path / "more.article").write_text("a third text\n")
    (tmp_path / "more.title").write_text("third\n")
    out = tmp_path / "giga word"
    assert prepared("gigaword", "--output", out, "--merges", "40", "--extra", tmp_path / "more", *given) == 0
    made = manifest_of(out)
    assert made["steps"]["text"]["counts"] == {"train": 50, "valid": 8, "test": 5, "additional": 1}
    assert given or made["steps"]["data-bin"]["counts"]["train.title lines"] == 51
    assert made["checks"]["test pairs"] == {"found": 5, "published": 1951, "within": 0, "agrees": False}
    text = (out / "text" / "train.article").read_text().splitlines()
    assert text[0] == "the house of mr. UNK is #.# meters 0" and text[-1] == "a third text" and len(text) == 51
    assert "test pairs: 5, but 1,951 are published" in capsys.readouterr().err
    if given:
        assert made["sources"][archive]["verified"].startswith("unverified")


@pytest.mark.slow
def test_wikitext103(server, tmp_path, monkeypatch, capsys):
    text = {
        "train": b" \n = A title = \n \n the dog @-@ house , the <unk> . \n",
        "valid": b" the dog \n",
        "test": b"x \n",
    }
    files = {f"wikitext-103/wiki.{split}.tokens": content for split, content in text.items()}
    content = packed(tmp_path / "w.zip", files)
    url = server.add("w", content)
    wrong = server.add("other", content + b"x")
    source = served(wikitext103.ARCHIVE, url, content)
    monkeypatch.setattr(wikitext103, "ARCHIVE", dataclasses.replace(source, urls=(wrong, url)))
    out = tmp_path / "wiki text"
    assert prepared("wikitext103", "--output", out) == 0
    made = manifest_of(out)
    # words: = A title the dog @-@ house , <unk> . and the line's end; tokens: 4 + 8 + 4 line ends
    assert (
        made["steps"]["text"]["counts"] | {"words": 11, "train tokens": 16, "train lines": 4}
        == (made["steps"]["text"]["counts"])
    )
    assert made["sources"]["wikitext-103-v1.zip"]["url"] == url and "the file has" in capsys.readouterr().err
    assert (
        made["steps"]["data-bin"]["counts"] | {"train lines": 4, "valid lines": 1}
        == made["steps"]["data-bin"]["counts"]
    )
    assert made["checks"]["different words (with the line's end)"]["published"] == 267_735


def test_librispeech(server, tmp_path, monkeypatch, capsys):
    from b2t_fairseq.corpora.embedded import dtmf

    raw, stand_ins = tmp_path / "raw", {}
    dtmf.generate(raw, {split: 3 for split in librispeech_download.ARCHIVES}, seed=1)
    for split, source in librispeech_download.sources().items():
        files = {f"LibriSpeech/{p.relative_to(raw)}": p.read_bytes() for p in (raw / split).rglob("*") if p.is_file()}
        content = packed(tmp_path / "packed.tar.gz", {"LibriSpeech/README.TXT": b"x", **files})
        stand_ins[split] = served(source, server.add(f"{split}.tar.gz", content, cuts=[3000]), content)
    monkeypatch.setattr(librispeech_download, "sources", lambda: stand_ins)
    out = tmp_path / "libri speech"
    assert prepared("librispeech", "--output", out, "--vocab-size", "40") == 0
    made = manifest_of(out)
    assert made["checks"]["training utterances"] == {"found": 9, "published": 281_241, "within": 0, "agrees": False}
    assert "training utterances: 9, but 281,241 are published" in capsys.readouterr().err
    assert {f"{split}.tsv" for split in stand_ins} < set(os.listdir(out / "data"))
    assert "audio_root: features" in (out / "data" / "config.yaml").read_text()
    assert sum(path.is_file() for path in (out / "audio").rglob("*.trans.txt")) == len(list(raw.rglob("*.trans.txt")))
    asked = len(server.asked)
    assert prepared("librispeech", "--output", out, "--vocab-size", "40") == 0 and len(server.asked) == asked
    assert prepared("librispeech", "--output", tmp_path / "2", "--from", raw, "--vocab-size", "40") == 0
    assert (tmp_path / "2" / "data" / "dev-clean.tsv").read_bytes() == (out / "data" / "dev-clean.tsv").read_bytes()
    assert len(server.asked) == asked and not (tmp_path / "2" / "audio").exists()


def test_librispeechs_checksums_are_torchaudios():
    """Its file is read, not imported: the module wants libraries that a CPU torch has not."""
    spec = importlib.util.find_spec("torchaudio")
    if spec is None:
        pytest.skip("torchaudio is not installed")
    tree = ast.parse((Path(spec.origin).parent / "datasets" / "librispeech.py").read_text(encoding="utf-8"))
    tables = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "_CHECKSUMS"]
    known = {url.rpartition("/")[2]: sum_ for url, sum_ in ast.literal_eval(tables[0]).items()}
    ours = {source.name: source.checksum.removeprefix("sha256:") for source in librispeech_download.sources().values()}
    assert ours == known and len(known) == 7


def test_every_test_set_has_sacrebleus_checksum():
    from sacrebleu.dataset import DATASETS

    for name in newstest.NAMES.values():
        assert all(len(md5) == 32 for md5 in DATASETS[name].md5) and "en-de" in DATASETS[name].langpairs
    assert newstest.NAMES[2014] == "wmt14/full" and sorted(newstest.NAMES) == list(range(2010, 2017))


def test_a_test_set_that_sacrebleu_left_half_written_is_made_again(test_sets, tmp_path):
    from b2t_fairseq.corpora.fetching.manifest import Manifest

    files = newstest.fetch_test_set(2011, Manifest(tmp_path / "m", "x"), None)
    files["de"].write_bytes(files["de"].read_bytes()[:-60])
    again = newstest.fetch_test_set(2011, Manifest(tmp_path / "m", "x"), None)
    assert again["de"].read_bytes() == lines(DE, 11)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["wmt-end"], "invalid choice"),
        (["wmt-ende", "--years", "2009"], "not from 2010 to 2016"),
        (["wmt-ende", "--year", "2014"], "unrecognized arguments"),
        (["librispeech", "--splits", "train-clean-10"], "no split train-clean-10"),
        (["wmt-ende", "--merges", "0"], "whole number of at least 1"),
        (["wikitext103", "--from", "/no/such/folder"], "no such folder"),
        (["wikitext103", "--output", "a,b"], "commas"),
        (["wikitext103", "--need-free-gb", "1e9", "--output", "{}"], "GB are free"),
        (["wikitext103", "--from", "{}", "--output", "{}"], "has no wikitext-103-v1.zip"),
        (["wmt-ende", "--from", "{}", "--output", "{}", "--years", "none"], "has neither wmt16_en_de.tar.gz nor"),
        (["gigaword", "--extra", "nothing", "--output", "{}"], "there is no nothing.article"),
        (["librispeech", "--from", "{}", "--output", "{}", "--need-free-gb", "0"], "has no train-clean-100.tar.gz"),
        (["news-headlines", "nothing", "--output", "{}/x"], "no such file"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, tmp_path, capsys):
    assert cli.main(["prepare", *(argument.format(tmp_path) for argument in arguments)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("error: ") and sentence in told[-1]


@pytest.mark.slow
def test_a_killed_preparation_goes_on(tmp_path):
    """Killed once in each phase; the second start of a phase keeps what the first has made."""
    (tmp_path / "given").mkdir()
    for split, number in (("train", 3000), ("valid", 3), ("test", 3)):
        (tmp_path / "given" / f"wiki.{split}.tokens").write_bytes(lines(EN, number))
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "b2t_fairseq.cli",
        "prepare",
        "wikitext103",
        "--workers",
        "1",
        "--need-free-gb",
        "0",
    ]
    command += ["--from", str(tmp_path / "given"), "--output", str(out)]
    process = subprocess.Popen(command, start_new_session=True)
    until = time.monotonic() + 100
    while not any(out.glob("data-bin.*.partial")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "data-bin").exists()
    text = os.stat(out / "text").st_mtime_ns
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "text: done before, kept" in done.stderr and "data-bin: done" in done.stderr
    assert os.stat(out / "text").st_mtime_ns == text and not list(out.glob("*.partial"))
    assert manifest_of(out)["steps"]["data-bin"]["counts"]["train lines"] == 3000


def test_given_text_is_refused_when_its_sides_differ(tmp_path):
    (tmp_path / "x.article").write_text("a\nb\n")
    (tmp_path / "x.title").write_text("a\n")
    with pytest.raises(UserError, match="has 2 lines and .* has 1"):
        gigaword.copy_pairs([gigaword.pair_of(tmp_path / "x")], tmp_path / "out")
