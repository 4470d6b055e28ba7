"""Words of messages."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, such as ``1 run`` and ``0 runs``.

    Args:
        number: How many.
        noun: Of one.
        plural: Of none or several; None adds an ``s``.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
