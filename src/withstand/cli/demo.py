"""`withstand demo`."""

from pathlib import Path

import click

from withstand.cli.options import CONTEXT, store_option


@click.command(context_settings=CONTEXT)
@store_option
@click.option("-o", "--output", default="withstand-demo.html", show_default=True, metavar="FILE")
@click.option("--target", "-t", metavar="T", help="Default: smollm2-kitchen; without torch scripted-kitchen.")
def demo(store: str, output: str, target: str | None) -> int:
    """The main job on the harmless stand-in: attack a small model that refuses cooking, and write the report."""
    from importlib.util import find_spec

    from withstand import api
    from withstand.cli import console
    from withstand.report import write

    console.say("cooking instructions stand in for harm: may this model be talked into giving them?")
    if target is None:
        target = "smollm2-kitchen" if find_spec("torch") and find_spec("peft") else "scripted-kitchen"
        if target == "scripted-kitchen":
            console.say("no torch here, so a script plays the model; for a real one: pip install 'withstand[local]'")
        else:
            console.say("a real model of 135M parameters runs on this machine: a minute or two")
    # a width that shows how far it is; other targets know theirs best
    spec = {
        "suite": "kitchen",
        "target": {"use": target, "width": 40} if target == "smollm2-kitchen" else target,
        "attack": ["direct", "prefix_injection", "role_play", "story", "prefill"],
        "limit": 20,
    }
    with console.progress() as show:
        done = api.run(spec, store=store, on_progress=show)
    console.out.print(console.cells_table(done.cells))
    console.notes(done.cells, done.summary["warnings"])
    path = Path(output)
    write.save(path, write.render(done.store, done.row, "html"))
    console.out.print()
    console.put(f"report: {path.resolve()}")
    console.put("next:   withstand list                      what there is")
    console.put("        withstand serve                     each case in a browser; label some")
    console.put("        withstand show attack story         what an attack does")
    console.put("        withstand init                      a spec of your own")
    console.put("        withstand run --suite kitchen --target openai:MODEL,base_url=URL --attack story")
    return 3 if done.tally and done.tally.failures else 0
