"""People label exchanges of a monitor's traffic, in the categories of its policy, without a screener's word."""

from starlette.responses import Response

from withstand.core import SpecError
from withstand.explorer import team
from withstand.explorer.app import PageRequest
from withstand.explorer.read import LONGEST, part
from withstand.explorer.security import Refused
from withstand.monitor.audit.queue import Queue, judge, label, queue_of
from withstand.monitor.audit.records import Item
from withstand.results.exposure import Topic, item_id, place_of_monitor

PATH = "/monitor/audit"
SIDES = ("prompt", "completion")


def page(asked: PageRequest) -> Response:
    """The next exchange that this person has not labeled."""
    asked.need("labeler")
    queue = _queue(asked)
    left = queue.left(asked.who)
    reader = team.reader_at(asked, place_of_monitor(queue.monitor))
    ids = reader.skipped  # of the store, once for all items
    skipped = {item.id for item in left if item_id(item.id) in ids} if ids else set()
    again = str(asked.query.get("again", ""))
    item = next((item for item in queue.items if item.id == again and _own(asked, queue, item)), None)
    if item is None:
        item = reader.next(
            [entry for entry in left if entry.id not in skipped or asked.query.get("skipped")],
            topic_of,
            lambda entry: entry.id,
        )
    shown = item is not None and asked.shows(place_of(item))
    if item and shown and not asked.explorer.read_only and not reader.read(item.id, topic_of(item)):
        item = None
    texts = (("prompt", item.input), ("completion", item.output)) if item else ()
    return asked.page(
        "monitor_audit", queue=queue, item=item, place=place_of(item) if item else "", shown=shown,
        parts_shown=[part(role, text, shown, LONGEST) for role, text in texts], monitors=asked.explorer.audits,
        done=queue.labeled(asked.who), left=len(left), reader=reader, skipped=len(skipped),
        lacks=sorted({entry for waiting in left for entry in reader.lacks(topic_of(waiting))}),
        last=str(asked.query.get("last", "")), sides=SIDES,
    )  # fmt: skip


def save(asked: PageRequest) -> Response:
    """Keep what the person said of both sides, or that they leave it to others; and show the next exchange."""
    asked.need("labeler")
    queue, item = _queue(asked), str(asked.form.get("item", ""))
    wanted = next((entry for entry in queue.items if entry.id == item), None)
    if wanted is None:
        raise Refused(400, "this exchange is not in the queue", "reload the page")
    reader = team.reader_at(asked, place_of_monitor(queue.monitor))
    if "skip" in asked.form:
        reader.skip(item, topic_of(wanted))
        return asked.to(PATH, name=queue.monitor)
    if not asked.shows(place_of(wanted)):
        raise Refused(400, "nobody labels what they have not read", "show the text first")
    if wanted not in queue.left(asked.who) and not _own(asked, queue, wanted):
        raise Refused(400, "others have labeled this exchange already", "reload the page")
    sides = {side: _side(asked, side) for side in SIDES}
    try:
        label(asked.explorer.store, queue, asked.who, {item: sides})
    except SpecError as error:
        raise Refused(400, str(error), error.hint) from error
    judge(reader, item, sides)
    return asked.to(PATH, name=queue.monitor, last=item)


def _side(asked: PageRequest, side: str) -> tuple[str, ...] | None:
    """What was chosen of a side: `none`, `unsure`, or categories."""
    chosen = [name.partition(":")[2] for name in asked.form if name.startswith(f"{side}:") and not name.endswith("[]")]
    if not chosen:
        raise Refused(400, f"nothing was said of the {side}", "choose categories, no violation, or unsure")
    if len(chosen) > 1 and {"none", "unsure"} & set(chosen):
        raise Refused(400, f"of the {side} several things were said that exclude each other", "choose one of them")
    return None if chosen == ["unsure"] else () if chosen == ["none"] else tuple(chosen)


def _queue(asked: PageRequest) -> Queue:
    waiting = asked.explorer.audits
    given = asked.form if asked.request.method == "POST" else asked.query
    name = str(given.get("name") or (waiting[0] if waiting else ""))
    if name not in waiting:
        raise Refused(404, "nothing waits for labels", "withstand monitor audit --take 100 draws exchanges")
    return queue_of(asked.explorer.store, name)


def topic_of(item: Item) -> Topic:
    """What is known of an exchange before it is read: by which category's scores it was drawn. It may be of others."""
    category = item.chosen.split(":")[1] if item.chosen.startswith("targeted:") else ""
    return Topic((category,) if category else (), sure=False)


def _own(asked: PageRequest, queue: Queue, item: Item) -> bool:
    """Whether this person has labeled it, and may correct that."""
    return any(word.item == item.id and word.labeler == asked.who for word in queue.opinions)


def place_of(item: Item) -> str:
    """What the audit of the explorer says was read."""
    return f"audit/{item.monitor[:100]}/{item.id}"


ROUTES = ((PATH, page, ["GET"]), (PATH, save, ["POST"]))
