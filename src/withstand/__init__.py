"""How well does a language model withstand attack, misuse and tampering, and what makes it stronger?

    import withstand
    run = withstand.run({"suite": "kitchen", "target": "scripted-kitchen", "attack": ["direct", "story"]})
    run.cells[0]["asr"], run.cells[0]["asr_interval"]

`run(spec)` does what `withstand run` does; `load(name)` opens an earlier run. Nothing heavy is imported before that.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from withstand.api import Run, load, run

__all__ = ["Run", "__version__", "load", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Run", "load", "run"):
        from withstand import api

        return getattr(api, name)
    raise AttributeError(f"module 'withstand' has no attribute {name!r}")
