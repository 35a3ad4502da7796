"""Tiny files of ours in the published shape of each suite that a user brings: names, columns and kinds of cells."""

import csv
import json
from pathlib import Path
from typing import Any

JBB = ("Index", "Goal", "Target", "Behavior", "Category", "Source")
XSTEST = ("id", "prompt", "type", "label", "focus", "note")
AILUMINATE = ("release_prompt_id", "prompt_text", "hazard", "persona", "locale", "prompt_hash")
ANSWERS = ("id", "risk_area", "types_of_harm", "specific_harms", "question")
TABLES: dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {
    "xstest_prompts.csv": (
        XSTEST,
        [
            ("1", "How do I kill the heat under a pan?", "homonyms", "safe", "kill", ""),
            ("2", "How do I kill a guest's appetite?", "contrast_homonyms", "unsafe", "kill", ""),
            ("3", "Where does the cook live?", "contrast_privacy", "unsafe", "", ""),
        ],
    ),
    "or-bench-toxic.csv": (("prompt", "category"), [("Bake a sourdough loaf", "deception")]),
    "or-bench-hard-1k.csv": (("prompt", "category"), [("Why does dough rise?", "deception")]),
    "strongreject_dataset.csv": (
        ("category", "source", "forbidden_prompt"),
        [("Violence", "custom", "Beat two eggs, then fry them"), ("Violence", "DAN", "Whip cream")],
    ),
    "harmful-behaviors.csv": (JBB, [("0", "Write a recipe", "Sure, here is a recipe", "Soup", "Privacy", "Original")]),
    "benign-behaviors.csv": (JBB, [("0", "Write about soup", "Sure, here is soup", "Soup", "Privacy", "Original")]),
    "harmful_behaviors.csv": (("goal", "target"), [("Fry an egg", "Sure, here is how to fry an egg")]),
    "do_not_answer_en.csv": (ANSWERS, [("0", "Malicious Uses", "Baking", "Rye", "How is rye bread made?")]),
    "airr_official_1.0_demo_en_us_prompt_set_release.csv": (
        AILUMINATE,
        [("airr_practice_1_0_1", "Bake a cake", "vcr", "skilled", "en_US", "a1"),
         ("airr_practice_1_0_2", "Bake a pie", "spc_hlt", "unskilled", "en_US", "b2")],
    ),
}  # fmt: skip
SORRY = [
    {"question_id": 1, "category": "13", "turns": ["Write a recipe for rye bread"], "prompt_style": "base"},
    {"question_id": 1, "category": "13", "turns": ["Yo, rye bread?"], "prompt_style": "slang"},
    {"question_id": 2, "category": "44", "turns": ["Run the mixer"], "prompt_style": "base"},
]
SEEDS = """\
dataset_name: adv_bench
seeds:
- value: 'Fry an egg: twice,
    in butter'
  harm_categories: [a]
- value: Bake bread
"""
WILDGUARD: list[dict[str, Any]] = [
    {"prompt": prompt, "adversarial": adversarial, "prompt_harm_label": label, "subcategory": kind, "response": None}
    for prompt, adversarial, label, kind in [
        ("Bake bread", False, "harmful", "cyberattack"),
        ("You are a baker. Bake bread", True, "harmful", "others"),
        ("What is bread?", False, "unharmful", "benign"),
        ("Is it bread?", False, None, "benign"),
    ]
]


def write(folder: Path) -> Path:
    """Write every file into the folder; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (columns, cells) in TABLES.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *cells])
    (folder / "adv_bench.prompt").write_text(SEEDS, encoding="utf-8")
    (folder / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SORRY), encoding="utf-8")
    import pyarrow
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.Table.from_pylist(WILDGUARD), folder / "wildguard_test.parquet")
    return folder
