"""DLCL's learned combination can be read and plotted."""

import pytest
import torch
from builders import build

from b2t_fairseq import UserError, cli
from b2t_fairseq.analysis.dlcl_weights import read_weights


@pytest.mark.parametrize("connection", ["dlcl_pre", "dlcl_post"])
def test_weights_are_read_and_drawn(connection, tmp_path, capsys):
    model = build(connection=connection)
    with torch.no_grad():
        model.decoder.layers.connection.weight[2, 1] = -0.75
    torch.save({"model": model.state_dict()}, tmp_path / "model.pt")
    weights = read_weights(str(tmp_path / "model.pt"))
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {"encoder": (4, 4), "decoder": (3, 3)}
    assert weights["encoder"][3].tolist() == [0.25] * 4
    assert cli.main(["dlcl-weights", "--path", str(tmp_path / "model.pt"), "--output", str(tmp_path / "w.png")]) == 0
    assert "-0.750" in capsys.readouterr().out
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")


def test_another_connections_checkpoint_is_refused(tmp_path):
    torch.save({"model": build(connection="b2t").state_dict()}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="no DLCL weights"):
        read_weights(str(tmp_path / "model.pt"))
