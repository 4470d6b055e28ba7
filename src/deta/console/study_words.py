"""Which study the words of a command line mean."""

from collections.abc import Callable, Iterable

from deta.utils.names import nearest

PRODUCT = "product"
"""The study that is a question at a size."""


def product_words(words: list[str], choices: Callable[[str], Iterable[str]]) -> list[str]:
    """``study=tau2_shapes``, or ``study=tau2 size=shapes``, as a question at a size.

    Args:
        words: Of ``deta study``.
        choices: Names in a group of configurations.

    Returns:
        ``words`` where the study has a file of its own.

    Raises:
        ValueError: There is no such study.
    """
    given = {name: value for name, _, value in (word.partition("=") for word in words)}
    study, size = given.get("study", ""), given.get("size")
    if study in choices("study"):
        return words
    questions, sizes = list(choices("study/question")), list(choices("study/size"))
    question, _, last = (study, "", size) if size is not None or study in questions else study.rpartition("_")
    if question not in questions or last not in sizes:
        own = [name for name in choices("study") if name not in (PRODUCT, "declaration")]
        beside = f"; or one of your own: {', '.join(own)}" if own else ""
        meant = nearest(
            f"{study}_{size}" if size else study, [f"{each}_{last}" for each in questions for last in sizes]
        )
        if study and meant:
            raise ValueError(f"study={study}{f' size={size}' if size else ''}: did you mean study={meant}?")
        asked = f"study={study}{f' size={size}' if size else ''}" if study else "no study"
        raise ValueError(
            f"{asked}: give a question and a size, such as study=tau2_shapes or study=tau2 size=shapes; "
            f"questions: {', '.join(questions)}; sizes: {', '.join(sizes)}{beside}"
        )
    chosen = [f"study={PRODUCT}", f"study/question@study={question}", f"study/size@study={last}"]
    others = [word for word in words if word.partition("=")[0] not in ("study", "size")]
    return [*chosen, f"study.name={question}_{last}", *others]
