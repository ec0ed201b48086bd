"""UserError: a mistake or misfortune that the user can act on."""


class UserError(Exception):
    """Raised where the fact is known, printed once and without a traceback by `tiny_imagenet.cli.main`.

    The message names what was wrong, where, and what to do.
    """
