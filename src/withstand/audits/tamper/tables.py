"""The tables of a report on tampering, each with a line that explains its columns."""

from collections.abc import Iterator

from withstand.audits.files import without_paths
from withstand.core import Json
from withstand.core.text import change, clock, percent, rate, short
from withstand.report.table import Column, Table

HARM = Column("harm", rate, "interval", right=True)
RISE = Column("rise", change, "interval", right=True)


def flops(number: float | None) -> str:
    """As in "1.2e+12"; none for None."""
    return "none" if number is None else f"{number:.2g}"


FLOPS = Column("compute", flops, "FLOPs", right=True)
STEPS = Column("steps", lambda number: str(number) if number else "", right=True)
ROWS = Column("rows", lambda number: str(number) if number else "", right=True)
UTILITY = {"within": "within the bound", "open": "may be lost", "outside": "lost: left out"}
KINDS = {"flops": "compute", "steps": "training steps", "rows": "training rows"}


def tables(report: Json) -> Iterator[Table]:
    """In the order in which a reader needs them."""
    if "compared" in report:
        yield _sides(report["base"], report)
        yield _pairs(report["compared"]["rows"])
    yield _worst(report)
    yield _takes(report)
    yield _methods(report)
    if report["seeds"]:
        yield _seeds(report["seeds"])
    yield _cells(report)


def figure(value: Json) -> tuple[float | None, tuple[float, float]]:
    """A rate or a rise as a column takes it."""
    return value["value"], (value["low"], value["high"])


def _sides(base: Json, hardened: Json) -> Table:
    """What was found of the model before and after its hardening."""
    rows = []
    for name, side in (("before", base), ("after hardening", hardened)):
        cells, shown = side["cells"], side["takes"]["flops"]["shown"]
        raised = sum(cell["raised"] == "raised" and cell["bounded"] != "outside" for cell in cells)
        rows.append([
            name, side["verdict"], figure(cells[0]["harm"]), figure(side["worst"]), side["halves"],
            f"{raised} of {len(cells) - 1}", None if shown is None else cells[shown]["flops"],
        ])  # fmt: skip
    columns = [
        Column("model"), Column("tampering", mark=verdict_class), Column("as it is", rate, "interval", right=True),
        Column("worst case", rate, "interval", right=True), Column("by halves", percent, right=True),
        Column("raised harm", right=True), Column("least that is enough", flops, "FLOPs", right=True),
    ]  # fmt: skip
    note = (
        "Both models met the same sweep. Each model's rise of harm and loss of utility is over the model itself, "
        "before it is tampered with: what the hardening itself cost is not here, and what it destroyed is hard to "
        "tamper with."
    )
    return Table(columns, rows, "Before and after the hardening", note)


def _pairs(pairs: Json) -> Table:
    rows = [
        [
            row["label"], figure(row["base"]["harm"]), UTILITY[row["base"]["bounded"]],
            figure(row["hardened"]["harm"]), UTILITY[row["hardened"]["bounded"]],
        ] for row in pairs
    ]  # fmt: skip
    columns = [
        Column("tampering"), Column("harm before", rate, "interval", right=True), Column("utility before"),
        Column("harm after hardening", rate, "interval", right=True), Column("utility after"),
    ]  # fmt: skip
    note = "Each tampering that both models met."
    return Table(columns, rows, "The same tampering before and after", note, folded=len(rows) > 12)


def _worst(report: Json) -> Table:
    cells = report["cells"]
    rows: list[list[object]] = [["the model as it is", figure(cells[0]["harm"]), "", "", "", ""]]
    bound = percent(report["bound"])
    for name, top in ((f"at most {bound} of the utility lost", report["worst"]), ("any loss", report["unbounded"])):
        label = "" if top["cell"] is None else cells[top["cell"]]["label"]
        halves = percent(report["halves"]) if top is report["worst"] else ""
        rows.append([name, figure(top), halves, label, top["among"] - 1, top["left_out"]])
    columns = [
        Column("worst case"), HARM, Column("by halves", right=True), Column("reached by"),
        Column("tamperings", right=True), Column("left out", right=True),
    ]  # fmt: skip
    note = (
        f"The highest harm of all tamperings. Left out: shown to cost more than {bound} of the base's utility. "
        f"All {report['intervals']} intervals of this page hold together with 95%, so that the highest of many may be "
        "named; its own figure is high by luck too. By halves: of the tampering that is worst on one half of the "
        "behaviors, counted on the other half. At the lower end a missing verdict is no harm, at the upper one it is."
    )
    return Table(columns, rows, "How far the guard can be undone", note, figure="curve")


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
    return Table(columns, rows, "Over seeds", note, folded=len(rows) > 12)


def _cells(report: Json) -> Table:
    rows = []
    for cell in report["cells"]:
        losses = {loss["measure"]: figure(loss) for loss in cell["losses"]}
        state = "as it is" if cell["method"] == "none" else without_paths(cell["why"]) or cell["raised"]
        rows.append([
            cell["label"], figure(cell["harm"]), figure(cell["rise"]), state, losses.get("texts", (None, None)),
            losses.get("right answers", (None, None)), UTILITY[cell["bounded"]], cell["garbled"], cell["flops"],
            cell["steps"], cell["rows"], cell["seconds"],
        ])  # fmt: skip
    columns = [
        Column("tampering"), HARM, RISE, Column("raised", mark=state_class),
        Column("texts lost", _lost, right=True), Column("right answers lost", _lost, right=True),
        Column("utility"), Column("garbled", percent, right=True), FLOPS, STEPS, ROWS,
        Column("time", clock, right=True),
    ]  # fmt: skip
    note = (
        "Rise: over the model as it is, on the same behaviors. Texts lost: of the nats that the model as it is saves "
        "on held-out texts over the same words in random order. Garbled: answers that make no sense; where they were "
        "judged harmful, they count as open."
    )
    return Table(columns, rows, "All tamperings", note, folded=len(rows) > 12)


def _lost(value: float | None, ends: tuple[float, float] | None) -> str:
    """A share of the base's utility; below 0 it rose."""
    if value is None or ends is None:
        return ""
    return f"{100 * value:.0f}% ({100 * ends[0]:.0f} to {100 * ends[1]:.0f})"


def state_class(state: str) -> str:
    return {"raised": "bad", "open": "open"}.get(state, "")


def verdict_class(verdict: str) -> str:
    return {"FAIL": "bad", "UNDECIDED": "open"}.get(verdict, "")
