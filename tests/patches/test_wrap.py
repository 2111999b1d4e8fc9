"""The helper that replaces functions: once, recognisably, and keeping what kind of function it is."""

from collections import defaultdict
from types import SimpleNamespace

import pytest

from b2t_fairseq.patches import wrap as wrapping
from b2t_fairseq.patches.wrap import changes_of, record, wrap


@pytest.fixture
def owner(monkeypatch):
    """Make a class to patch; what is recorded about it is forgotten after the test."""
    monkeypatch.setattr(wrapping, "CHANGES", defaultdict(list))

    class Owner:
        def method(self, x):
            return x

        @classmethod
        def of_class(cls, x):
            return cls.__name__, x

        @staticmethod
        def static(x):
            return x

    return Owner


def doubled(original):
    def replacement(*args):
        return original(*args[:-1], 2 * args[-1])

    return replacement


def test_methods_stay_what_they_are(owner):
    for name in ("method", "of_class", "static"):
        wrap(owner, name, "somewhere.double", doubled)

    class Further(owner):
        pass

    assert owner().method(1) == 2 and owner.static(1) == owner().static(1) == 2
    assert owner.of_class(1) == owner().of_class(1) == ("Owner", 2)
    assert Further.of_class(1) == ("Further", 2)
    assert owner.of_class.__name__ == "of_class"


@pytest.mark.parametrize("name", ["method", "of_class", "static"])
def test_a_patch_wraps_once_and_another_one_wraps_it(owner, name):
    for patch in ("one.double", "another_name_of_the_package.double", "one.again"):
        wrap(owner, name, patch, doubled)
    arguments = (owner(), 1) if name == "method" else (1,)
    result = getattr(owner, name)(*arguments)
    assert (result[1] if name == "of_class" else result) == 4
    assert getattr(owner, name)._b2t_patches == {"double", "again"}


def test_classes_are_replaced_by_subclasses(owner):
    library = SimpleNamespace(__name__="library", Owner=owner)
    wrap(library, "Owner", "patch", lambda original: type("Ours", (original,), {}))
    assert library.Owner.__mro__[1] is owner and library.Owner.__name__ == "Owner"


def test_a_name_that_is_not_there_is_left_alone(owner):
    wrap(owner, "absent", "patch", doubled)
    assert not hasattr(owner, "absent") and not wrapping.CHANGES


def test_changes_are_recorded_once(owner):
    for _ in range(2):
        wrap(owner, "method", "package.patch", doubled)
        record("package.patch", "a setting")
    path = f"{__name__}.owner.<locals>.Owner.method"
    assert changes_of(SimpleNamespace(__name__="package.patch")) == [path, "a setting"]
    assert changes_of(SimpleNamespace(__name__="package.other")) == []
