"""`withstand demo`."""

from pathlib import Path

import click

from withstand.cli import console
from withstand.cli.options import command, store_option


@command()
@store_option
@click.option("-o", "--output", default="withstand-demo.html", show_default=True, metavar="FILE",
              help="Report to write.")  # fmt: skip
@click.option("--target", "-t", metavar="T",
              help="Model to attack (default: smollm2-kitchen, or scripted-kitchen without torch).")  # fmt: skip
def demo(store: str, output: str, target: str | None) -> int:
    """Attack a small model that refuses cooking; write a report.

    Cooking instructions are the harmless stand-in for harm: everything is real except the harm.
    """
    from withstand import api
    from withstand.cli import cells
    from withstand.cli.progress import progress
    from withstand.report import write

    console.say("Cooking instructions stand in for harm: can attacks make this model give them?")
    if target is None:
        target = _default_target()
    # a narrow batch shows progress early; other targets choose their own width
    spec = {
        "suite": "kitchen",
        "target": {"use": target, "width": 40} if target == "smollm2-kitchen" else target,
        "attack": ["direct", "prefix_injection", "role_play", "story", "prefill"],
        "limit": 20,
    }
    with progress() as show:
        run = api.run(spec, store=store, on_progress=show)
    cells.show_cells(run)
    path = Path(output)
    write.save(path, write.render(run.store, run.row, "html"))
    console.put("")
    console.put(f"report: {path.resolve()}")
    console.put("next:   withstand list                      list the components")
    console.put("        withstand serve                     read and label the cases in a browser")
    console.put("        withstand show attack story         explain an attack")
    console.put("        withstand init                      write a spec of your own")
    console.put("        withstand run --suite kitchen --target openai:MODEL,base_url=URL --attack story")
    return 3 if run.tally and run.tally.failures else 0


def _default_target() -> str:
    from importlib.util import find_spec

    if find_spec("torch") and find_spec("peft"):
        console.say("A real model of 135M parameters runs on this machine; this takes a minute or two.")
        return "smollm2-kitchen"
    console.say("torch is not installed, so a script plays the model; for a real one: pip install 'withstand[local]'")
    return "scripted-kitchen"
