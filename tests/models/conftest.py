"""Decoding is tested with our kernels and without."""

import pytest

from b2t_fairseq import native


@pytest.fixture(params=["compiled", "torch's operations"])
def kernels(request, monkeypatch):
    """Each test with the fastest way of doing things, and with the next one."""
    is_compiled = request.param == "compiled"
    if not is_compiled:
        monkeypatch.setattr(native, "kernels", lambda: None)
    elif native.kernels() is None:
        pytest.skip("no C++ compiler")
    return is_compiled
