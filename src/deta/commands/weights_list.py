"""``deta weights list``: published weights by their names."""

from collections.abc import Iterable

from omegaconf import DictConfig

from deta.console.terminal import reports_errors
from deta.utils.wording import counted
from deta.zoo import Entry, Places, entries, entry, is_name

_FACTS = ("ap", "url", "size", "sha256", "licence")


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print a table, or all that is known of the weights of one name."""
    places = Places.of(cfg.paths.weights, cfg.paths.cache)
    match = None if cfg.match is None else str(cfg.match)  # 50, too, is a part of names
    if match is not None and is_name(match):
        print(_details(entry(match), places))
        return
    found = [each for each in entries().values() if match is None or match in each.name or match in each.system]
    if match is not None and not found:
        entry(match)  # its message names the nearest
    print(_table(found, places))
    print(
        f"\n{counted(len(found), 'set')} of weights. AP: COCO val2017, as published. Browser: a person has to save the "
        "file\nfrom a page, whose address deta weights list NAME tells. Licence: of the repository."
    )


def _table(found: Iterable[Entry], places: Places) -> str:
    rows = [("name", "system", "AP", "size", "licence", "file")]
    rows += [
        (each.name, each.system, f"{each.ap:.1f}", each.size or "", each.licence, _where(each, places))
        for each in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def _where(weights: Entry, places: Places) -> str:
    if places.present(weights) is not None:
        return "here"
    return "browser" if weights.needs_browser else "download"


def _details(weights: Entry, places: Places) -> str:
    present = places.present(weights)
    lines = [
        ("name", weights.name),
        ("model", " ".join(weights.words)),
        ("file", weights.file if present is None else str(present)),
        ("from", weights.repository),
    ]
    for fact in _FACTS:
        value = getattr(weights, fact)
        source = f"   ({weights.read_in[fact]})" if value is not None else ""
        lines.append((fact, f"{'not published' if value is None else value}{source}"))
    if weights.needs_browser:
        lines.append(("browser", weights.note or "the file has to be saved by a person"))
    return "\n".join(f"{name:<9}{value}" for name, value in lines)
