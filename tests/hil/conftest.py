"""What tests of the bench share."""

import pytest

from farfield.cli import main


@pytest.fixture
def quick_check(monkeypatch):
    """Rigs are checked for a second."""
    monkeypatch.setattr("farfield.hil.rigs.check.SECONDS", 1)


@pytest.fixture
def farfield(capsys):
    """`farfield hil` as it is typed: status, stdout and stderr."""

    def farfield_(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["hil", *map(str, arguments)])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return farfield_
