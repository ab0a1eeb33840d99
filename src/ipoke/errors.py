"""What goes wrong through no fault of ours, in one line that a person can act on."""


class InputError(Exception):
    """A person's mistake or a broken input; the command line prints it as one line and exits with 2.

    The message says what, where, got, expected, and what to do. Everything else that is raised is a defect of ours.
    """
