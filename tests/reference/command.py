"""The `farfield` command as tests run it, in their own process."""

import pytest

from farfield.cli import main


def said_by(capsys, *arguments):
    """What `farfield ARGUMENTS` ends with: (status, lines on stdout, lines on stderr)."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return left.value.code, said.out.splitlines(), said.err.splitlines()
