"""The `lifecycle.toml` to start from."""

from withstand.core import dumps
from withstand.redteam.lifecycle.file import FROM_STORE, SCHEMA
from withstand.redteam.lifecycle.stages import STAGES

HEAD = """\
# What a system must have at each stage of its life. `withstand lifecycle check` reads this file, and
# `withstand lifecycle status --gate STAGE` says whether the gate of a stage is open.
schema = "{schema}"

[system]
name = {name}
owner = "" # who answers for it
targets = [] # labels of its targets, as `withstand runs` prints them: only runs of these are evidence
policy = "" # a policy.toml beside this file
use_case = "" # its entry in the policy's register
users = "" # for whom it is meant
feared = [] # the misuse that you fear
unforeseen = [] # what came that nobody feared; empty at first

# What the system is meant for. Never change an entry: add one behind it, and every item must be signed anew.
[[intended]]
status = "research" # or "production"
use = "" # what it is used for, in a sentence
since = {day}

# status: "open", "done" or "not-applicable", which needs a reason. A signed item has owner, date, expires and evidence:
# files beside this one, "https://...", "run:NAME" of a complete run, "gate:NAME" of a run that passes its limits, or
# "pilot:ID" of a pilot below.
"""

PILOT = """
# A pilot of a new use. Rates are shares of users with a violation (per = "user"), of requests, or violations an hour.
# [[pilot]]
# id = "long-answers"
# use_case = "..."
# owner = "..."
# population = "..." # who takes part
# cap = 50 # users at most
# hypothesis = "..."
# starts = {day}
# ends = {day}
# stop = { above = 0.05, severe = 1 } # so high a rate, or so many violations of severity 4
# success = { below = 0.02, least = 40 } # the upper limit, and how many users must be seen
# [[pilot.count]] # from the beginning to the end of this day; what is left out is not counted, and not 0
# date = {day}
# users = 0
# violating = 0
# violations = 0
# severe = 0
# [[pilot.decision]]
# date = {day}
# by = "..."
# outcome = "extend" # or "end" or "release"
# until = {day}
# reason = "..."
"""


def starter(name: str, day: str) -> str:
    """The text of a file in which every item is open. day: ISO."""
    parts = [HEAD.replace("{schema}", SCHEMA).replace("{name}", dumps(name)).replace("{day}", day)]
    for stage in STAGES:
        parts.append(f"\n# --- {stage.id} {'-' * (110 - len(stage.id))}\n")
        for need in stage.needs:
            if need.id == FROM_STORE:
                parts.append(f"# {need.what}: the store decides it\n")
                continue
            terms = [f"at most {need.days} days"] * (need.days < 366) + ["always applies"] * need.always
            comment = f"{need.what}{' (' + ', '.join(terms) + ')' if terms else ''}"
            evidence = "" if need.states else "evidence = []\n"
            parts.append(f'[[item]] # {comment}\nid = "{need.id}"\nstatus = "open"\nowner = ""\n{evidence}\n')
    return "".join(parts).rstrip("\n") + "\n" + PILOT.replace("{day}", day)
