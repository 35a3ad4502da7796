"""The stages of a system's life and what each must have before its gate opens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """An item of a stage. days: the longest that it can be valid.   always: it cannot be "not applicable".

    states: what [system] must say for it; such an item needs no evidence.
    """

    id: str
    what: str
    days: int = 366
    always: bool = False
    states: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage; its gate opens when all its needs are met, and those of the stages before."""

    id: str
    title: str
    needs: tuple[Need, ...]


STAGES = (
    Stage("concept", "Concept", (
        Need("use-case", "the use, as an entry of the policy's register", always=True, states="use_case"),
        Need("users", "the intended users", always=True, states="users"),
        Need("intended-status", "the intended status: research or production", always=True, states="intended"),
        Need("feared-misuse", "the misuse that is feared", always=True, states="feared"),
        Need("unforeseen", "a list of what was not foreseen, empty at first", always=True, states="unforeseen"),
    )),
    Stage("data", "Data", (
        Need("sources", "the sources of the training data"),
        Need("filters", "what was filtered from it"),
        Need("filter-bias", "an audit of whom the filters remove"),
    )),
    Stage("model", "Model", (
        Need("instruction-tuning", "notes on the instruction tuning"),
        Need("baseline", "an evaluation to compare with", always=True),
        Need("regression", "a safety regression report against the last version"),
    )),
    Stage("pre-deployment", "Before deployment", (
        Need("red-team", "a red team's plan and findings", always=True),
        Need("suite-audit", "an audit of the suites"),
        Need("thresholds", "the thresholds of screening, and how they were chosen"),
        Need("documentation", "documentation for users"),
        Need("residual-risk", "the residual risk, signed by its owner", always=True),
    )),
    Stage("beta", "Private beta", (
        Need("user-cap", "a cap on users", always=True),
        Need("monitor", "monitoring that is live"),
        Need("weekly-review", "the review of this week", days=7),
        Need("stop-rule", "a rule that stops the beta", always=True),
    )),
    Stage("pilot", "Pilot of a new use", (
        Need("hypothesis", "a hypothesis, written before"),
        Need("customers", "a small set of customers"),
        Need("violations", "measured violations"),
        Need("decision", "the record of the decision"),
    )),
    Stage("release", "General release", (
        Need("quotas", "quotas"),
        Need("rate-limits", "rate limits"),
        Need("incident-process", "a process for incidents", always=True),
        Need("policy", "a published policy"),
        Need("contact", "a contact for reports", always=True),
    )),
    Stage("operation", "Operation", (
        Need("triage", "alerts triaged within their target", days=31),
        Need("audit-sample", "the audited sample of this month", days=31),
        Need("policy-review", "the policy review of this quarter", days=92, always=True),
    )),
    Stage("retrospective", "Retrospective", (
        Need("incidents", "a retrospective of each incident of severity 3 and 4", always=True),
        Need("releases", "a retrospective of each major release"),
    )),
)  # fmt: skip
"""After OpenAI's "Lessons learned on language model safety and misuse" (2022), whose diagram of the life cycle is an
image: the stages follow its text. The validity in days is ours."""

NEEDS = {need.id: need for stage in STAGES for need in stage.needs}
STAGE_OF = {need.id: stage.id for stage in STAGES for need in stage.needs}
STAGE_IDS = tuple(stage.id for stage in STAGES)
