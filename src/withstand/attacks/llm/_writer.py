"""What stands in keys for the field `writer` of an attack, which may be empty."""

from types import MappingProxyType

from withstand.core import Json, Model
from withstand.core.describe import describe


def keyed(writer: Model | None) -> Json:
    """What stands for a writer in keys. Release 0.1 sent its thinking, and drafts that were cut off: so a key with a
    writer is another one since, and one without stays."""
    if writer is None:
        return None
    described = describe(writer)
    return {**described, "version": f"{described['version']}, reading 2"}


WRITER = MappingProxyType({"read": lambda attack: keyed(attack.writer)})
"""Metadata of the field."""
