"""The layer never asks which connection it is given."""

import re
from pathlib import Path

from builders import ALL_CONNECTIONS

from b2t_fairseq import layers


def test_layers_name_no_connection():
    """No connection's name stands in `layers/` as a whole word."""
    name = re.compile(rf"\b({'|'.join(ALL_CONNECTIONS)})\b")
    lines = [
        (path.name, line)
        for path in Path(layers.__path__[0]).glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert {"stack.py", "layer.py"} <= {file for file, _ in lines}
    assert [(file, line) for file, line in lines if name.search(line)] == []
