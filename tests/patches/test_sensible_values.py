"""Values that make no sense are refused; every default of fairseq's own, and what is at the edge, is taken."""

import dataclasses
import math
import sys
from argparse import Namespace
from types import SimpleNamespace

import pytest
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import ARCH_CONFIG_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY

from b2t_fairseq.common.errors import UserError
from b2t_fairseq.patches.additions import sensible_values as sensible


def defaults(kind) -> dict:
    """The defaults of a dataclass and of the dataclasses in it."""
    found = {}
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            found.update(defaults(field.type))
        elif field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def all_defaults():
    yield "fairseq", defaults(FairseqConfig)
    for registry in (MODEL_DATACLASS_REGISTRY, TASK_DATACLASS_REGISTRY):
        yield from ((name, defaults(kind)) for name, kind in registry.items())
    for registry in REGISTRIES.values():
        yield from ((name, defaults(kind)) for name, kind in registry["dataclass_registry"].items() if kind)
    for name, configure in ARCH_CONFIG_REGISTRY.items():
        args = Namespace(max_source_positions=10, max_target_positions=10, tokens_per_sample=10)
        try:
            configure(args)
        except Exception:  # some need more options of their task
            continue
        yield name, vars(args)


def test_every_default_of_fairseq_is_taken():
    refused = []
    for name, settings in all_defaults():
        try:
            sensible.check(settings)
        except UserError as error:
            refused.append(f"{name}: {error}")
    assert not refused and len(list(all_defaults())) > 100


@pytest.mark.parametrize("name, low, high", [(n, r.low, r.high) for n, r in sensible.RANGES.items()])
def test_the_ends_of_each_range(name, low, high):
    sensible.check_ranges({name: low})
    for value in (math.nextafter(low, -math.inf) if low != 0 else -0.5, math.nan, high if math.isfinite(high) else -7):
        with pytest.raises(UserError, match=f"^--{name.replace('_', '-')} "):
            sensible.check_ranges({name: value})


@pytest.mark.parametrize("value", [0.0, 0, 0.999, None, "0.5"])
def test_a_dropout_that_is_taken(value):
    sensible.check_ranges({"any_new_dropout": value})


@pytest.mark.parametrize("value", [-1, 1, 1.5, math.nan, math.inf, "2"])
def test_a_dropout_that_is_refused(value):
    with pytest.raises(UserError, match=r"^--any-new-dropout .*: must be at least 0 and below 1"):
        sensible.check_ranges({"any_new_dropout": value})


def limits(**options):
    names = {"max_update": 0, "max_epoch": 0, "stop_time_hours": 0, "stop_min_lr": -1.0, "patience": -1, **options}
    return SimpleNamespace(**names), SimpleNamespace(**names)


@pytest.mark.parametrize("zero", [["--max-update", "0"], ["--max-update=0"], ["optimization.max_update=0"]])
def test_a_training_needs_an_end(zero, monkeypatch):
    sensible.check_training(*limits())  # nothing given: until it is stopped
    monkeypatch.setattr(sys, "argv", ["train", "data", *zero])
    with pytest.raises(UserError, match="--max-update N or --max-epoch N"):
        sensible.check_training(*limits())
    for option in ("max_update", "max_epoch", "stop_time_hours", "stop_min_lr", "patience"):
        sensible.check_training(*limits(**{option: 1}))


def test_nbest_may_be_as_large_as_beam():
    sensible.check({"nbest": 5, "beam": 5})
    with pytest.raises(UserError, match="--nbest 6 is more than --beam 5"):
        sensible.check({"nbest": 6, "beam": 5})
