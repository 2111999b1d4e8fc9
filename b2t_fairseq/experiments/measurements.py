"""Measurements: probes of fresh or trained models, which the figures are drawn from.

    RESULTS/SCALE/probes/NAME.jsonl    what `b2t-fairseq analyze` wrote for one model

A measurement of a trained model needs its checkpoint, so it is made on the machine that trained it; its records then
count everywhere.
"""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..analysis import during_training
from ..analysis.depth_check import read_rows
from ..analysis.probes import RECORD, VERSION, default_layers
from ..common.command_line import ours
from ..common.files import read_records, replacing, write_atomically
from ..models import methods
from .costs import stacks
from .jobs.progress import Display
from .jobs.runner import Chain, Command, fingerprint, run_chains
from .published import Target
from .rows import Results
from .scale import Scale

FRESH_SECONDS, TRAINED_SECONDS, DEPTH_CHECK_SECONDS = 60.0, 30.0, 2400.0


@dataclass(frozen=True)
class Measurement:
    """One probe of one model.

    Attributes:
        name: of its file.
        arguments: of `analyze`, without the output.
        folder: where the command works.
        checkpoint: of a trained model, or what its training left; None for a fresh one.
        version: that its records have.
    """

    version: ClassVar[int | None] = VERSION

    name: str
    arguments: tuple[str, ...]
    folder: Path
    checkpoint: Path | None = None

    @property
    def words(self) -> str:
        """Name it for a reader."""
        return self.name

    @property
    def output(self) -> Path:
        """Return the file that the command writes."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def chain(self) -> Chain:
        """Return the one command."""
        arguments = ours("analyze", *self.arguments, "--output", str(self.output))
        # with another version of the probes what was written before does not count
        command = Command(f"measure {self.name}", arguments, self.folder, self.name, depends=f"probes {self.version}")
        return Chain(self.name, [command])

    @property
    def seconds(self) -> float:
        """Estimate the seconds of one core that it takes."""
        return TRAINED_SECONDS if self.checkpoint else FRESH_SECONDS

    def kept(self, results: Results) -> Path:
        """Return the file among the results."""
        return results.folder / "probes" / f"{self.name}.jsonl"

    def is_done(self, *results: Results | None) -> bool:
        """Return whether its records are among some results, whole and of today's version."""
        return any(self.is_whole(self.kept(each)) for each in results if each is not None)

    def is_whole(self, path: Path) -> bool:
        """Return whether a file holds records of all layers that are measured, and nothing damaged or older."""
        damaged: list[str] = []
        records = read_records(path, damaged, **RECORD)
        if damaged or not records or any(record.get("version") != self.version for record in records):
            return False
        try:
            depths = dict(zip(("encoder", "decoder"), stacks(records[0]["layers"]), strict=True))
        except ValueError:
            return False
        counts = Counter((record["side"], record["layer"]) for record in records)
        as_many_each = len(set(counts.values())) == 1
        if records[0]["probe"] == "points":
            at = self.arguments[self.arguments.index("--at") + 1].split(",") if "--at" in self.arguments else None
            return as_many_each and set(counts) == {
                ("decoder", layer) for layer in (map(int, at) if at else default_layers(depths["decoder"]))
            }
        if len(counts) != sum(depths.values()) or any(not 1 <= layer <= depths.get(side, 0) for side, layer in counts):
            return False
        if records[0]["probe"] == "similarity":  # a record for each pair of layers
            return len(records) == sum(depth * (depth + 1) // 2 for depth in depths.values())
        return as_many_each

    def keep(self, results: Results, source: Path | None = None) -> None:
        """Copy what the command wrote, or the file `source`, to the results."""
        path = self.kept(results)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            shutil.copyfile(source or self.output, temporary)

    def adopt(self, results: Results, known: Results | None) -> None:
        """Copy its records from `known` to the results, if they are only there."""
        if known is not None and self.is_done(known) and not self.is_done(results):
            self.keep(results, self.kept(known))


@dataclass(frozen=True)
class DuringTraining(Measurement):
    """What a cell's training wrote of one probe by itself (`--probe-interval`): nothing is left to run.

    Attributes:
        probe: whose records are kept.
    """

    probe: str = ""

    @property
    def output(self) -> Path:
        """Return the file that the training writes."""
        return self.folder / "checkpoints" / during_training.FILE

    @property
    def seconds(self) -> float:
        """Return 0: the training took the time."""
        return 0.0

    def keep(self, results: Results, source: Path | None = None) -> None:
        """Copy the probe's records to the results, or the file `source`, which is a copy."""
        if source is not None:
            super().keep(results, source)
            return
        mine = [record for record in read_records(self.output, **RECORD) if record["probe"] == self.probe]
        self.kept(results).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.kept(results), "".join(f"{json.dumps(record)}\n" for record in mine))


@dataclass(frozen=True)
class DepthCheck(Measurement):
    """All connections at three depths: gradients, variances, first losses; `b2t-fairseq depth-check`."""

    version: ClassVar[int | None] = None

    @property
    def words(self) -> str:
        """Name it for a reader."""
        count, depths = len(self.arguments[1].split(",")), self.arguments[3].replace(",", ", ")
        return f"depth check of {count} connections at {depths} layers"

    def is_whole(self, path: Path) -> bool:
        """Return whether a file holds all connections and depths; half a line that a kill left does no harm."""
        found = {tuple(map(str, row["settings"][:2])) for row in read_rows(path)}
        names, depths = (self.arguments[place].split(",") for place in (1, 3))
        return found >= set(itertools.product(names, depths))

    @property
    def output(self) -> Path:
        """Return the file that the command writes."""
        return self.folder / "models.jsonl"

    @property
    def chain(self) -> Chain:
        """Return the one command, which resumes."""
        arguments = ours("depth-check", *self.arguments, "--output", str(self.folder), "--jobs", "1")
        return Chain(self.name, [Command(self.name, arguments, self.folder / "log", self.name)])

    @property
    def seconds(self) -> float:
        """Estimate the seconds of one core that it takes."""
        return DEPTH_CHECK_SECONDS


def of(target: Target, scale: Scale) -> list[Measurement]:
    """Return the measurements that a target asks for at a scale."""
    if target.kind == "depth":
        return depth_check(target, scale)
    if not target.probe:
        return []
    made = [] if target.kind == "similarity" else fresh(target, scale)
    if scale.name == "laptop" and "probe_interval" in target.laptop:
        return made + during(target, scale)
    return made + (trained(target, scale) if target.kind in ("similarity", "growth") else [])


def each(of_targets: Mapping[str, Sequence[Measurement]]) -> list[Measurement]:
    """Return the measurements of all targets, each once."""
    return list({measurement.name: measurement for made in of_targets.values() for measurement in made}.values())


def depth_check(target: Target, scale: Scale) -> list[DepthCheck]:
    """Return the depth check of the target's connections, of the first seed."""
    models, seed = scale.models(target.models()), str(scale.options.seeds[0])
    names, depths = (list(dict.fromkeys(column)) for column in zip(*models, strict=True))
    arguments = "--connections", ",".join(names), "--layers", ",".join(depths), "--seed", seed
    code = methods.code_key(*names)
    key = fingerprint(*arguments, *([code] if code else []))
    arguments += tuple(methods.code_options(*names))
    return [DepthCheck(f"depth-{key}", arguments, scale.root / f"depth-{key}")]


def fresh(target: Target, scale: Scale) -> list[Measurement]:
    """Return the measurements of models before training, of the first seed."""
    seed, made = str(scale.options.seeds[0]), []
    for connection, layers in scale.models(target.models()):
        model, where = scale.fresh_model(target, connection, layers)
        which = decoder_layers(target, layers)
        code = methods.code_key(connection)
        parts = [target.probe, methods.word(connection), layers, where, *which[1:], *([code] if code else []), seed]
        name = "-".join(parts)
        arguments = target.probe, *model, *which, "--seed", seed, *methods.code_options(connection)
        made.append(Measurement(name, arguments, scale.root / "probes"))
    return made


def decoder_layers(target: Target, layers: str) -> list[str]:
    """Return the option that names the decoder layers of `points`; none where the usual ones include the target's."""
    usual = default_layers(int(layers.rpartition("-")[2]))
    return [] if set(target.layers) <= set(usual) else ["--at", ",".join(map(str, target.layers))]


def trained(target: Target, scale: Scale) -> list[Measurement]:
    """Return the measurements of a target's cells, of the first seed."""
    made = []
    for cell in scale.trained_cells(target):
        checkpoint, data = cell.folder / "averaged.pt", scale.data_of(cell)
        name = f"{target.probe}-{methods.word(cell.connection)}-{cell.layers}-trained-{cell.fingerprint}"
        code = methods.code_options(cell.connection)
        arguments = target.probe, "--path", str(checkpoint), "--data", str(data), *code
        made.append(Measurement(name, arguments, cell.folder, checkpoint))
    return made


def during(target: Target, scale: Scale) -> list[DuringTraining]:
    """Return what the trainings of a target's cells measure themselves, of the first seed."""
    return [
        DuringTraining(
            f"{target.probe}-{methods.word(cell.connection)}-{cell.layers}-during-{cell.fingerprint}",
            (),
            cell.folder,
            cell.folder / "checkpoints" / during_training.FILE,
            target.probe,
        )
        for cell in scale.trained_cells(target)
    ]


def make(measurements: Sequence[Measurement], results: Results, jobs: int) -> list[str]:
    """Make what is not done; return what failed."""
    failures, ready = [], []
    for measurement in measurements:
        if measurement.is_done(results):
            continue
        if measurement.checkpoint is not None and not measurement.checkpoint.exists():
            failures.append(
                f"{measurement.name}: there is no {measurement.checkpoint}: its row was made elsewhere; train it here "
                "with --recompute and another --output"
            )
            continue
        if isinstance(measurement, DuringTraining):
            measurement.keep(results)
            if not measurement.is_done(results):
                failures.append(
                    f"{measurement.name}: {measurement.output} does not hold {measurement.probe} of all layers: train "
                    "it again with --recompute and another --output"
                )
            continue
        if not measurement.is_whole(measurement.output):
            measurement.chain.commands[0].marker.unlink(missing_ok=True)  # done once, and damaged since
        ready.append(measurement)
    named = {measurement.name: measurement for measurement in ready}

    def ended(chain: Chain) -> None:
        if chain.failure:
            failures.append(f"{chain.name}: {chain.failure}")
            return
        named[chain.name].keep(results)
        if not named[chain.name].is_done(results):
            failures.append(f"{chain.name}: {named[chain.name].output} does not hold all that is measured")

    run_chains([measurement.chain for measurement in ready], jobs, 1, Display(), ended)
    return failures
