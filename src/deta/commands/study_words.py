"""Which study the words of a command line mean."""

from collections.abc import Callable, Iterable


def product_words(words: list[str], choices: Callable[[str], Iterable[str]]) -> list[str]:
    """``study=tau2_shapes``, or ``study=tau2 size=shapes``, as a question at a size.

    Args:
        words: Of ``deta study``.
        choices: Names in a group of configurations.

    Returns:
        ``words`` where the study has a file of its own, or is no question.
    """
    given = {name: value for name, _, value in (word.partition("=") for word in words)}
    study, size = given.get("study", ""), given.get("size")
    if study in choices("study"):
        return words
    question, _, last = (study, "", size) if size is not None else study.rpartition("_")
    if question not in choices("study/question") or last not in choices("study/size"):
        return words
    chosen = ["study=product", f"study/question@study={question}", f"study/size@study={last}"]
    others = [word for word in words if word.partition("=")[0] not in ("study", "size")]
    return [*chosen, f"study.name={question}_{last}", *others]
