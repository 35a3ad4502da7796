"""Write the jailbreak templates that a user's copy of PyRIT brings as a file for the attack `human_jailbreaks`.

    python recipes/guards/pyrit_templates.py pyrit-1.1.0-py3-none-any.whl templates.json
    withstand guard eval securevector --suite kitchen --attack human_jailbreaks:templates.json,n=4 --fpr 0.05 --plain

PyRIT (MIT) collected most of them from the web. Their texts are in no file of this repository. Needs pyyaml.
"""

import json
import sys
import zipfile
from pathlib import Path

import yaml

FOLDER = "pyrit/datasets/jailbreak/templates/"


def templates(wheel: str) -> list[str]:
    """The different templates with a place for one prompt, as `human_jailbreaks` writes it."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(FOLDER) and name.endswith(".yaml"))
        read = [yaml.safe_load(archive.read(name)) for name in names]
    texts = [entry["value"] for entry in read if entry.get("parameters") == ["prompt"]]
    return sorted({text.replace("{{ prompt }}", "{behavior}") for text in texts if "{{ prompt }}" in text})


if __name__ == "__main__":
    listed = templates(sys.argv[1])
    Path(sys.argv[2]).write_text(json.dumps(listed), encoding="utf-8")
    print(f"{len(listed)} templates")
