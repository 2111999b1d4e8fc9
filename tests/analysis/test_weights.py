"""What a connection has learned itself can be read and plotted."""

import pytest
import torch
from builders import build

from b2t_fairseq import UserError, cli
from b2t_fairseq.analysis.weights import read_weights, records


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


def test_records_of_dlcl_and_of_admin():
    model = build(connection="dlcl_post")
    with torch.no_grad():
        model.decoder.layers.connection.weight[2, 1] = -0.75
    found = {(r["side"], r["layer"], r["other"]): r["value"] for r in records(model.state_dict(), "dlcl_post")}
    assert len(found) == 10 + 6
    assert found["decoder", 3, 1] == -0.75 and found["encoder", 4, 3] == 0.25 and found["encoder", 1, 0] == 1
    model = build(connection="admin")
    with torch.no_grad():
        model.decoder.layers.connection.omega[4][:16] = 3  # layer 2, cross-attention; half of it
    found = {(r["side"], r["layer"], r["sublayer"]): r for r in records(model.state_dict(), "admin")}
    assert list(found)[:3] == [("encoder", 1, "SA"), ("encoder", 1, "FF"), ("encoder", 2, "SA")]
    row = found["decoder", 2, "CA"]
    assert (row["value"], row["deviation"], len(found)) == (2, 1, 6 + 6)
    with pytest.raises(UserError, match="'pre' has none of its own"):
        records(build(connection="pre").state_dict(), "pre")
