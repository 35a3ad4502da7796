"""What the author of a component imports: records, protocols, keys and errors. Standard library only.

Data flows one way: behaviors -> attack -> test cases -> target (+ defense) -> completions -> judge -> verdicts.
"""

from withstand.core.content import Json as Json
from withstand.core.content import digest as digest
from withstand.core.content import draw as draw
from withstand.core.content import dumps as dumps
from withstand.core.content import filled as filled
from withstand.core.content import from_json as from_json
from withstand.core.content import rng as rng
from withstand.core.content import to_json as to_json
from withstand.core.errors import AskError as AskError
from withstand.core.errors import SpecError as SpecError
from withstand.core.errors import StoreError as StoreError
from withstand.core.errors import WithstandError as WithstandError
from withstand.core.errors import at_least as at_least
from withstand.core.errors import did_you_mean as did_you_mean
from withstand.core.errors import gives_vectors as gives_vectors
from withstand.core.errors import within as within
from withstand.core.protocols import Ask as Ask
from withstand.core.protocols import Attack as Attack
from withstand.core.protocols import Defense as Defense
from withstand.core.protocols import Flow as Flow
from withstand.core.protocols import JointAttack as JointAttack
from withstand.core.protocols import Judge as Judge
from withstand.core.protocols import Learned as Learned
from withstand.core.protocols import Lost as Lost
from withstand.core.protocols import Model as Model
from withstand.core.protocols import Most as Most
from withstand.core.protocols import RejectedDrafts as RejectedDrafts
from withstand.core.protocols import Suite as Suite
from withstand.core.protocols import Target as Target
from withstand.core.protocols import UpperBounds as UpperBounds
from withstand.core.protocols import WhiteBox as WhiteBox
from withstand.core.protocols import Work as Work
from withstand.core.protocols import Worked as Worked
from withstand.core.protocols import answered as answered
from withstand.core.protocols import ask as ask
from withstand.core.protocols import converse as converse
from withstand.core.protocols import intercept as intercept
from withstand.core.protocols import work as work
from withstand.core.records import Behavior as Behavior
from withstand.core.records import Chat as Chat
from withstand.core.records import Completion as Completion
from withstand.core.records import GuardCheck as GuardCheck
from withstand.core.records import Message as Message
from withstand.core.records import Outcome as Outcome
from withstand.core.records import Sampling as Sampling
from withstand.core.records import Spent as Spent
from withstand.core.records import TestCase as TestCase
from withstand.core.records import ToolCall as ToolCall
from withstand.core.records import Verdict as Verdict
from withstand.core.records import answers_of as answers_of
from withstand.core.records import trajectory as trajectory
from withstand.core.records import user as user
