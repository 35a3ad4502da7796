"""Words that make a rate of what people found by hand: percentages, fractions, and how frequent something is.

Manual rounds identify harms; their examples say nothing of how common a harm is (R4 of Microsoft's guide). So a
sentence that reads as such a measure is an error, whether it has digits or words. What is quoted is the target's, not
the report's; of an amount in the world ("a 20 % discount") nothing is measured.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator

ONES = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|seventy|eighty|"
    "ninety"
)
NUMBER = rf"(?:\d[\d,.]*|{ONES}|a hundred|a dozen|every|each)"
COUNTED = (
    r"(?:prompts?|attempts?|answers?|responses?|repl(?:y|ies)|requests?|questions?|outputs?|conversations?|chats?|"
    r"tries|trials?|tests?|cases?|runs|samples?|quer(?:y|ies)|messages?|turns?|sessions?|interactions?|completions?|"
    r"generations?|attacks?|jailbreaks?|injections?|pairs)"
)
"""What a rate of a target would be counted among."""
UNIT = rf"(?:{COUNTED}|inputs?)"
"""With inputs, of which "2 of 5 inputs" says how far a cell is covered."""
WORLD = (
    r"(?:discounts?|off|rebates?|solution|alcohol|abv|proof|vat|tax(?:es)?|interest|apr|tips?|cream|fat|cocoa|battery|"
    r"brightness|zoom|humidity|concentration|strength|saline|commission|deposit|fees?|surcharge|mortgage|loan|cotton|wool|"
    r"pure|hydrogen|ethanol|bleach|raise|refund|markup|slope|grade|a year|per year|a month|annually)"
)
HURT = (
    r"(?:harmful|borderline|unsafe|refused|blocked|failed|successful|succeeded|broke(?:n)?|bad|wrong|jailbroken|leaked|"
    r"produced|led|got|gave)"
)
QUANT = r"(?:(?:the|all|its|their|our|these|those|such)\s+)?(?:[\w'\u2019-]+\s+){0,2}?"
FRACTION = (
    r"(?:half|(?:a|one|two|three|four)[ -](?:third|quarter|fifth|sixth|eighth|tenth)s?|(?:a |the )?(?:vast |clear |"
    r"large |small |tiny |slim )?(?:majority|minority|bulk|plurality|fraction|proportion|share|percentage|portion))"
)
MEASURE = (
    r"(?:success|failure|fail|refusal|over-?refusal|jailbreak|error|hit|violation|harm|block|bypass|incident|detection|"
    r"leak(?:age)?|finding|break|compliance|catch|miss)"
)
NOT_UNITS = (
    r"(?:minutes|hours|days|weeks|members|people|testers|raters|nurses|layers|rounds|languages|harms|cells|features|personas|"
    r"seconds|steps|months|years|sections|findings|parts|rooms)"
)
"""What may be counted in a report: "one in five rounds"."""
FEW_BEFORE = r"(?<!after )(?<!in )(?<!took )(?<!with )(?<!needed )(?<!after a )"
"""What stands before "many attempts" where it speaks of effort."""
BECAME = r"(?:was|is|of|at|fell to|rose to|dropped to|=|:)"
DEGREE = r"(?:still|very|quite|fairly|extremely|rather|so|more|less)"

TARGET = (
    r"(?:model|assistant|application|app|bot|chatbot|system|layer|endpoint|filter|base|target|agent|product|"
    r"defen[cs]e|mitigation|guardrail|attacks?|jailbreaks?|injections?|prompts?|answers?|outputs?|responses?|harms?|"
    r"leaks?|leakage|refusals?|failures?)"
)
PEOPLE = (
    r"(?:members?|testers?|teams?|raters?|reviewers?|rounds?|we|people|staff|guests?|users?|customers?|patients?|clinicians?|"
    r"owners?|experts?|readers?|reports?|parents?|developers?|you|who|meetings?)"
)
GET = r"(?:gets?|got|receive[sd]?|sees?|saw|obtain(?:s|ed)?|succeed(?:s|ed)?|fail(?:s|ed)?|breaks?|broke)"
OFTEN = (
    r"(?:often|rarely|seldom|frequently|infrequently|usually|mostly|commonly|occasionally|regularly|routinely|typically|"
    r"hardly ever|more often than not|nine times out of ten|as a rule)"
)
ALWAYS = (
    r"(?:always|never|consistently|invariably|every time|each time|generally|normally|mainly|tends? to|twice as likely)"
)

MEANT = re.compile(
    r"\b(?:how (?:often|common(?:ly)?|frequent(?:ly)?|rare(?:ly)?|likely|prevalent|many)|"
    r"reproduced (?:in )?\d+ of \d+(?: (?:times|tries|answers|repetitions))?|"
    r"(?:no|not an?|never an?|without an?y?|nor an?|neither an?|gives? no|computes? no) (?:\w+ )?(?:rates?|"
    r"percentages?|prevalence|shares?|fractions?)(?: of \w+)?|"
    r"nothing (?:\w+ ){0,3}(?:a )?rates?(?: of \w+)?|too few (?:\w+ ){0,4}for (?:a )?rates?|"
    r"(?:interest|exchange|heart|pulse|flow|frame|sampling|sample|bit|tax|hourly|daily|room|mortgage|birth|death|metabolic|"
    r"respiratory|data|refresh|discount) rates?|rate[- ]limit\w*|"
    rf"{WORLD}\b[^.%]{{0,20}}?\d[\d.,]*\s?%)",
    re.IGNORECASE,
)
"""What speaks of a rate and states none: questions, negations, repetitions of one finding, rates in the world."""

QUOTED = re.compile(r'`[^`]*`|"[^"]*"|\u201c[^\u201d]*\u201d|\u00ab[^\u00bb]*\u00bb')

RATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # percentages
        rf"(?:\d[\d.,]*\s?[%\uff05]|\b(?:\d[\d.,]*|{ONES}|hundred|[a-z]+ty-[a-z]+)[\s-](?:percent|per cent|pct)\b)"
        rf"(?!\s*-?(?:\w+ ){{0,1}}{WORLD}\b)",
        r"\d\s?%\s+of(?: the)? \w+",
        # the word
        rf"\b{MEASURE}[ -](?:rates?|percentage|share|proportion)\b",
        r"\bASR\b",
        r"\brates? (?:of|at which|with which)\b",
        r"\b(?:the|a|its|this|that|at|high|low|higher|lower|same|overall|average|mean)\s+(?:\w+\s)?rates?\b(?!\s+(?:it|them|her))",
        rf"\b{MEASURE}\s+{BECAME}\s*(?:about\s+)?0?\.\d+",
        # counts of counts
        rf"\b{NUMBER} (?:of|out of|in)(?: (?:the|every|all|its|these|our))? {NUMBER}\s+(?:[\w-]+\s+){{0,2}}?"
        rf"(?:{COUNTED}|times)\b",
        rf"\b(?:\d+|{ONES}) (?:harmful \w+|findings?|leaks?|failures?|jailbreaks?) (?:\w+ ){{0,2}}?"
        rf"(?:in|of|from|out of|among) (?:the )?{NUMBER} (?:[\w-]+ )?{UNIT}\b",
        rf"\b{NUMBER} {UNIT} (?:in|of|out of)(?: every)? (?!one\b|1\b){NUMBER}\b(?! {NOT_UNITS})",
        rf"\bof (?:the )?{NUMBER} {COUNTED},? {NUMBER}\b(?! {NOT_UNITS})",
        rf"\b\d+/\d+\s+(?:[\w-]+\s+){{0,2}}?{UNIT}\b",
        rf"\b{NUMBER} (?:of|out of)(?: the)? {NUMBER}\s+(?:inputs?\s+)?(?:(?:was|were|is|are|being)\s+)?{HURT}\b",
        r"\b(?:fail(?:s|ed)?|harmful|refus(?:es|ed)|succeed(?:s|ed)?|breaks?|broke|leak(?:s|ed)?|compl(?:y|ies|ied)|works?|"
        r"worked|answer(?:s|ed)|happens?|happened)\s+(?:\w+\s+){0,2}?(?:in\s+)?"
        rf"{NUMBER} (?:of|out of|in) {NUMBER}\b(?! {NOT_UNITS})",
        rf"\b(?:{ONES}|\d{{1,3}}) (?:in|out of) (?:every \w+|a hundred|{ONES}|\d{{1,3}})\b(?!\d)(?!\s+{NOT_UNITS})",
        # parts in words
        rf"\b{FRACTION} of {QUANT}{UNIT}\b",
        rf"\b{FRACTION} (?:the|of the) time\b",
        rf"\b{FRACTION} of (?:them|these|those)\s+(?:were\s+|are\s+|was\s+|is\s+)?(?:{HURT}|fail|leak|compl|work)",
        rf"\b(?<!the )(?<!at )(?<!its )(?<!our )most (?:of {QUANT})?(?:[\w-]+\s+)?{UNIT}\b",
        r"\b(?:nearly|almost|virtually|practically) (?:all|every|each|none|no)\b(?: of)?(?: (?:the|its|these|our))?\s+"
        rf"(?:[\w-]+\s+)?{UNIT}\b",
        rf"\bevery (?:second|other|third|fourth|fifth|tenth)\s+(?:[\w-]+\s+)?(?:{UNIT}|time)\b",
        r"\b(?:reduc|cut|lower|decreas|increas|rais|shrink|drop|fall|fell)\w*\s+(?:[\w-]+\s+){1,4}?"
        rf"by (?:half|a third|two thirds|a quarter|a factor|{NUMBER}[- ]fold)\b",
        rf"{FEW_BEFORE}\b(?:a few|few|very few|many|a lot of|lots of) (?:of (?:the|its|these)\s+)?"
        rf"(?:[\w-]+\s+)?{UNIT}\s+"
        r"(?:were|are|was|is|fail|fails|failed|broke|break|led|lead|got|get|succeed|succeeded|gave|give|leak|leaked)\b",
        r"\b(?:halv|doubl|tripl|cut)\w*\s+(?:the number|the share|the frequency) of\s+(?:[\w-]+\s+)?"
        rf"(?:{UNIT}|harms?|leaks?)\b",
        # how frequent
        r"\b(?:most|much|half|all) of the time\b|\bmost often\b",
        rf"\b(?:is|are|was|were|seems?|remains?|became|becomes?)\s+(?:{DEGREE}\s+)?(?:rare|common|uncommon|frequent|infrequent|"
        r"widespread|prevalent|unusual)\b(?!\s+(?:practice|knowledge|ground|language|denominator|dish))",
        r"\bprevalence\b|\bincidence\b",
        r"\b(?:chance|probability|odds|likelihood) (?:of|that|is|was)\b",
    )
)  # fmt: skip
ADVERBS = re.compile(rf"\b(?P<often>{OFTEN})\b|\b(?P<always>{ALWAYS})\b", re.IGNORECASE)
SUBJECTS = re.compile(rf"\b(?:(?P<target>{TARGET})|(?P<people>{PEOPLE}))\b", re.IGNORECASE)
GETS = re.compile(rf"\s+{GET}\b", re.IGNORECASE)
PASSIVE = re.compile(r"\b(?:is|are|be|been|was|were)\s+$", re.IGNORECASE)
ACTS = re.compile(
    r"\b(?:refus|fail|leak|reveal|answer|compl(?:y|i)|break|broke|give|gave|tell|told|obey|succeed|work|resist|block|hold|"
    r"held|disclos|produce|output|repeat|follow|reject|catch|stop|happen|show|write|wrote|say|said|call)",
    re.IGNORECASE,
)


def rates(text: str) -> list[str]:
    """The words of a passage that read as a rate or as how frequent something is, as they stand there."""
    plain = MEANT.sub(_blank, QUOTED.sub(_blank, text))
    spans = [match.span() for pattern in RATES for match in pattern.finditer(plain)]
    for clause in re.finditer(r"[^.;:!?]+", plain):
        spans += [(clause.start() + start, clause.start() + end) for start, end in _frequencies(clause[0])]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return [text[start:end].strip() for start, end in merged]


def _blank(match: re.Match[str]) -> str:
    return "\u2022" * len(match[0])


def _frequencies(clause: str) -> Iterator[tuple[int, int]]:
    """Where a clause says how frequently a target does something. What people do at work is no measure of it.

    The subject is the last one before the adverb, else the first one after it; a pronoun is what was named before.
    """
    subjects = list(SUBJECTS.finditer(clause))
    starts = [subject.start() for subject in subjects]
    for match in ADVERBS.finditer(clause):
        at = bisect_left(starts, match.start())
        subject = subjects[at - 1] if at else subjects[0] if subjects else None
        of_people = subject is not None and subject.lastgroup == "people"
        if match["often"] and not (of_people and not GETS.match(clause, match.end())):
            yield match.span()
        elif match["always"] and not of_people and at and ACTS.search(clause, subjects[0].end()):
            passive = PASSIVE.search(clause[max(0, match.start() - 6) : match.start()])
            if not passive or match["always"].endswith("likely"):
                yield match.span()
