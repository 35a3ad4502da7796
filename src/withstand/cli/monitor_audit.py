"""`withstand monitor audit`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from withstand.cli import console
from withstand.cli.options import Result, command, options, store_file_option
from withstand.core.text import count

if TYPE_CHECKING:
    from withstand.monitor.audit.queue import Queue
    from withstand.monitor.section import Context

OPTIONS = options(
    click.option("--policy", "policy_file", required=True, metavar="FILE", help="Policy that people label by."),
    click.option("--settings", "settings_file", default="", metavar="FILE", help="The monitor's settings."),
    click.option("--take", type=click.IntRange(min=0), default=0, metavar="N",
                 help="Put N more exchanges of the random audit stream into the queue."),
    click.option("--targeted", type=click.IntRange(min=0), default=0, metavar="N",
                 help="Put N more in that are chosen by score, as many of each band: they narrow the intervals."),
    click.option("--write", "target", default="", metavar="FILE", help="Write what --by has to label to CSV or JSONL."),
    click.option("--read", "source", default="", metavar="FILE", help="Take the labels of --by from such a file."),
    click.option("--by", "labeler", default="", metavar="NAME", help="Who labels, with --write and --read."),
    store_file_option("Store of the queue and the labels."),
)  # fmt: skip


@command(json=True)
@click.argument("folder", metavar="[DIR]", default="monitor")
@OPTIONS
def audit(
    folder: str, policy_file: str, settings_file: str, take: int, targeted: int, target: str, source: str, labeler: str,
    store_file: str,
) -> Result:  # fmt: skip
    """Have people label exchanges of the traffic that DIR holds, so that rates need not trust a screener.

    What is drawn is kept in the store, redacted, and labeled in the explorer (`withstand serve`, page Label traffic)
    or in a file. Without an option it says how far the queue is.
    """
    from withstand import api
    from withstand.monitor.audit import draw, queue, sheet
    from withstand.monitor.audit.counted import count_labels
    from withstand.monitor.section import Context
    from withstand.monitor.settings import Settings, read_settings
    from withstand.monitor.traffic import Traffic
    from withstand.redteam.policy.records import read_policy
    from withstand.results.exposure import place_of_monitor, reader

    if (target or source) and not labeler.strip():
        raise click.UsageError("--write and --read need --by NAME: the labels of two people are compared")
    if target and Path(target).suffix not in (".csv", ".jsonl"):
        raise click.UsageError("--write takes a file that ends in .csv or .jsonl")
    policy = read_policy(policy_file)
    settings = read_settings(settings_file, policy) if settings_file else Settings()
    with Traffic(folder) as traffic, api.open_store(store_file) as store:
        context = Context(traffic, settings, policy, store, traffic.end)
        name = settings.keeping.name
        if take or targeted:
            queue.keep_words(store, name, policy, context.now)
            _taken(context, draw.take(context, take, targeted), take + targeted)
        waiting = queue.queue_of(store, name)
        if source:
            earlier = {word.item for word in waiting.opinions if word.labeler == labeler}
            answers = sheet.read_sheet(source, waiting, labeler)
            queue.label(store, waiting, labeler, answers)
            person = reader(store, labeler, place_of_monitor(name))
            for item in answers.keys() - earlier:
                queue.judge(person, item, answers[item])
            console.say(f"{count(len(answers), 'label')} of {labeler} kept")
            waiting = queue.queue_of(store, name)
        for line in count_labels(context):
            console.say(line)
        if target:
            _write(target, sheet.sheet(waiting.left(labeler)), sheet.COLUMNS)
    return Result(_value(waiting), lambda: _show(waiting))


def _taken(context: "Context", drawn: Any, wanted: int) -> None:
    text = f"{count(len(drawn), 'exchange')} more to label"
    if len(drawn) < wanted:
        rate = context.settings.keeping.audit_rate
        text += f", of {wanted:,}: there are no more with a text in the stream (audit_rate {rate:g}) or in the bands"
    console.say(text)


def _write(target: str, lines: list[dict[str, str]], columns: tuple[str, ...]) -> None:
    from withstand.report import table, write

    csv = Path(target).suffix == ".csv"
    texts = table.csv_lines(columns, lines) if csv else (f"{json.dumps(line)}\n" for line in lines)
    write.save(Path(target), "".join(texts))
    console.say(
        f"wrote {count(len(lines), 'exchange')} to {target}: fill in prompt and completion with `none`, `unsure` or "
        "categories, then give it to --read"
    )


def _value(queue: "Queue") -> dict[str, Any]:
    labelers = sorted({opinion.labeler for opinion in queue.opinions})
    return {
        "schema": 1, "monitor": queue.monitor, "policy": queue.policy, "queued": len(queue.items),
        "random": sum(item.chosen == "audit" for item in queue.items),
        "labeled": len({opinion.item for opinion in queue.opinions if opinion.policy == queue.policy}),
        "labelers": {name: queue.labeled(name) for name in labelers},
    }  # fmt: skip


def _show(queue: "Queue") -> None:
    value = _value(queue)
    console.put(
        f"{queue.monitor}: {value['labeled']:,} of {count(value['queued'], 'exchange')} labeled by policy "
        f"{queue.policy} ({value['random']:,} of the random stream)"
    )
    for name, number in value["labelers"].items():
        console.put(f"  {name}: {number:,}")
