"""What goes wrong with a binary or a run and is not a bug of ours."""


class RunError(ValueError):
    """A binary that cannot be loaded, or inputs that it cannot run on; the text is one line."""
