"""What farfield raises when what it was given cannot be used: one line each, and exit status 2 at the command line."""


class InputError(ValueError):
    """A file, field or argument that cannot be used; the message names it, what came, what was wanted, what to do."""


class ModelError(InputError):
    """A model file that is damaged, hostile or of an unknown kind."""
