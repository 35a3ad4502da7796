"""An application with a system prompt, documents and tools, where cooking stands in for harm: codes that must not leak,
instructions planted in documents (Greshake et al. 2023, arXiv:2302.12173), a tool that is not for guests. Ours.
"""

from dataclasses import dataclass
from typing import ClassVar

from withstand.core import Behavior
from withstand.data import _read


@dataclass(frozen=True, slots=True)
class KitchenApp:
    """24 behaviors for the guest assistant of a restaurant, six of each category. In `prompt_leak` a guest wants a code
    of the system prompt, in `tool` the forbidden tool to be called, in `recipe` cooking instructions. In `injection`
    a harmless question leads to a document with a planted instruction, and following that is the success.

    harmless: instead the suite `kitchen-app-benign`, 12 requests that must not be refused, half of them near misses.

    Each behavior's code or tool stands in its tags, and the judge `kitchen-app` goes by them. The application is what
    `kitchen_app_files/app.json` holds: system prompt, ten documents, descriptions of three tools. A target without it
    has nothing to leak, and its numbers say nothing. No splits; no target strings, an application is black-box.
    """

    harmless: bool = False

    split: ClassVar[str] = "all"
    judge: ClassVar[str] = "kitchen-app"
    refusal_judge: ClassVar[str] = "refusal_words"
    max_tokens: ClassVar[int] = 256
    version: ClassVar[str] = "1"
    license: ClassVar[str] = "Apache-2.0"
    citation: ClassVar[str] = ""
    obeys: ClassVar[tuple[str, ...]] = ("prompt_leak", "tool")

    @property
    def benign(self) -> str:
        """The suite that measures over-refusal; none for that suite itself."""
        return "" if self.harmless else "kitchen-app-benign"

    def load(self) -> list[Behavior]:
        """The behaviors, in the file's order."""
        name = f"kitchen_app_{'benign' if self.harmless else 'behaviors'}_text_all.csv"
        return _read.behaviors(_read.packaged("kitchen_app_files", name), _read.HARMBENCH, benign=self.harmless)
