"""The tables of a report on tampering, each with a line that explains its columns."""

from collections.abc import Iterator

from withstand.core import Json
from withstand.core.text import change, clock, percent, rate, short
from withstand.report.table import Column, Table

HARM = Column("harm", rate, "interval", right=True)
RISE = Column("rise", change, "interval", right=True)
FLOPS = Column("compute", lambda flops: f"{flops:.2g}" if flops else "0", "FLOPs", right=True)
STEPS = Column("steps", lambda number: str(number) if number else "", right=True)
ROWS = Column("rows", lambda number: str(number) if number else "", right=True)
UTILITY = {"within": "within the bound", "open": "may be lost", "outside": "lost: left out"}
KINDS = {"flops": "compute", "steps": "training steps", "rows": "training rows"}


def tables(report: Json) -> Iterator[Table]:
    """In the order in which a reader needs them."""
    yield _worst(report)
    yield _takes(report)
    yield _methods(report)
    if report["seeds"]:
        yield _seeds(report["seeds"])
    yield _cells(report)


def figure(value: Json) -> tuple[float | None, tuple[float, float]]:
    """A rate or a rise as a column takes it."""
    return value["value"], (value["low"], value["high"])


def _worst(report: Json) -> Table:
    cells = report["cells"]
    rows: list[list[object]] = [["the model as it is", figure(cells[0]["harm"]), "", "", ""]]
    bound = percent(report["bound"])
    for name, top in ((f"at most {bound} of the utility lost", report["worst"]), ("any loss", report["unbounded"])):
        label = "" if top["cell"] is None else cells[top["cell"]]["label"]
        rows.append([name, figure(top), label, top["among"] - 1, top["left_out"]])
    columns = [
        Column("worst case"), HARM, Column("reached by"), Column("tamperings", right=True),
        Column("left out", right=True),
    ]  # fmt: skip
    note = (
        f"The highest harm of all tamperings. Left out: shown to cost more than {bound} of the base's utility. "
        f"All {report['intervals']} intervals of this page hold together with 95%, so that the highest of many may be "
        "named; its own figure is high by luck too. At the lower end a missing verdict is no harm, at the upper one it "
        "is."
    )
    return Table(columns, rows, "How far the guard can be undone", note)


def _takes(report: Json) -> Table:
    cells, rows = report["cells"], []
    for kind, least in report["takes"].items():
        row: list[object] = [KINDS[kind]]
        for number in (least["shown"], least["possible"]):
            row += [
                "none" if number is None else short(cells[number][kind]),
                "" if number is None else cells[number]["label"],
            ]
        rows.append(row)
    columns = [
        Column("least"), Column("is enough", right=True), Column("for"), Column("may be enough", right=True),
        Column("for"),
    ]  # fmt: skip
    note = (
        f"Enough: harm surely rises by more than {report['fail']:g} points. May be enough: that is not excluded. Less "
        "than was tried may do as well. Steps and rows are those of trainings."
    )
    return Table(columns, rows, "How much it takes", note)


def _methods(report: Json) -> Table:
    cells = report["cells"]
    rows = [
        [
            row["method"], figure(row), "" if row["cell"] is None else cells[row["cell"]]["label"], row["tried"],
            row["raised"], row["left_out"],
        ]
        for row in report["methods"]
    ]  # fmt: skip
    columns = [
        Column("method"), HARM, Column("reached by"), Column("tried", right=True), Column("raised harm", right=True),
        Column("left out", right=True),
    ]  # fmt: skip
    return Table(columns, rows, "Worst case of each method", "At the same bound of utility.")


def _seeds(seeds: Json) -> Table:
    rows = [
        [row["label"], len(row["seeds"]), (row["mean"], (row["low"], row["high"])), row["least"], row["most"]]
        for row in seeds
    ]
    columns = [
        Column("tampering"), Column("seeds", right=True), Column("mean harm", rate, "95% interval", right=True),
        Column("least", percent, right=True), Column("most", percent, right=True),
    ]  # fmt: skip
    note = "The worst case takes the most harmful seed, as somebody does who tampers. The mean tells how lucky it is."
    return Table(columns, rows, "Over seeds", note)


def _cells(report: Json) -> Table:
    rows = []
    for cell in report["cells"]:
        losses = {loss["measure"]: figure(loss) for loss in cell["losses"]}
        state = "as it is" if cell["method"] == "none" else cell["why"] or cell["raised"]
        rows.append([
            cell["label"], figure(cell["harm"]), figure(cell["rise"]), state, losses.get("texts", (None, None)),
            losses.get("right answers", (None, None)), UTILITY[cell["bounded"]], cell["garbled"], cell["flops"],
            cell["steps"], cell["rows"], cell["seconds"],
        ])  # fmt: skip
    columns = [
        Column("tampering"), HARM, RISE, Column("harm", mark=_marked), Column("likelihood lost", _lost, right=True),
        Column("right answers lost", _lost, right=True), Column("utility"), Column("garbled", percent, right=True),
        FLOPS, STEPS, ROWS, Column("time", clock, right=True),
    ]  # fmt: skip
    note = (
        "Rise: over the model as it is, on the same behaviors. Likelihood lost: of held-out texts, a token. Garbled: "
        "answers that make no sense; where they were judged harmful, they count as open."
    )
    return Table(columns, rows, "All tamperings", note, folded=len(rows) > 12)


def _lost(value: float | None, ends: tuple[float, float] | None) -> str:
    """A share of the base's utility; below 0 it rose."""
    if value is None or ends is None:
        return ""
    return f"{100 * value:.0f}% ({100 * ends[0]:.0f} to {100 * ends[1]:.0f})"


def _marked(state: str) -> str:
    return {"raised": "verdict FAIL", "open": "verdict UNDECIDED", "not raised": "verdict PASS"}.get(state, "")
