"""What `make networks` prints."""

from histo.networks import __main__
from histo.networks.network import BODIES


def test_a_line_for_each_network(capsys):
    __main__.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [*BODIES, "densenet121", "resnet34"]
    shown = {name: (total, trainable) for name, total, trainable in lines}
    assert shown["batchnorm_4conv"] == ("5,112,001", "5,110,017")
    assert shown["plain_2conv"] == ("996,449", "996,449")
    assert shown["p4m_residual"][1] == "452,889"
