"""The table that `make networks` prints."""

from histo.networks import __main__
from histo.networks.names import OWN


def test_one_line_per_network(capsys):
    __main__.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [*OWN, "densenet121", "resnet34"]
    sizes = {name: (total, trainable) for name, total, trainable in lines}
    assert sizes["batchnorm_4conv"] == ("5,112,001", "5,110,017")
    assert sizes["plain_2conv"] == ("996,449", "996,449")
    assert sizes["p4m_residual"][1] == "452,889"


def test_required_options_come_from_the_defaults():
    defaults = {"name": "p4m_residual", "width": 16, "blocks": 1, "hidden": 8, "dropout": 0.5}
    assert __main__.with_defaults("residual", defaults) == {
        "name": "residual",
        "width": 16,
        "blocks": 1,
        "dropout": 0.5,
    }
    assert __main__.with_defaults("batchnorm_gap", defaults) == {"name": "batchnorm_gap"}
    assert __main__.with_defaults("resnet34", defaults) == {"name": "resnet34"}
