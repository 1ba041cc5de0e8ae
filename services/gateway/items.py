"""Calls whose items are judged one by one: fields marked `itemized` in the contract.

An item that cannot even be read becomes a refused result at its place, as the service itself does with an item that it
cannot take; the others go on. Only when no item is well formed does the call fail as a whole.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from plaudit.type.v1 import options_pb2, refusal_pb2

from services.gateway import transcode
from services.gateway.decoder import decoder, items_max
from services.gateway.malformed import MalformedError
from services.kernel import errors
from services.kernel.errors import DomainError, Violation

RESULTS = "results"
REFUSED = "_REFUSED"
# As many as there can be items in a call of the largest contract; an answer stays within about 100 kB.
VIOLATIONS_MAX = 1000


def itemized_field(method: MethodDescriptor) -> FieldDescriptor | None:
    """Finds the field of the request whose items are judged one by one, None where there is none."""
    for field in method.input_type.fields:
        if field.GetOptions().Extensions[options_pb2.itemized] and RESULTS in method.output_type.fields_by_name:
            return field
    return None


@dataclass
class Split:
    """How the items of one call went: which were read, by their place, and what is wrong with the others."""

    count: int
    read: list[int]
    faults: dict[int, list[Violation]]
    results: dict[int, Any]


class Items:
    """The itemized field of one method, and its results."""

    def __init__(self, field: FieldDescriptor, output: Descriptor) -> None:
        assert field.message_type is not None, "Items are messages."
        result_type = output.fields_by_name[RESULTS].message_type
        assert result_type is not None, "Results are messages."
        self.field = field
        self._decode = decoder(field.message_type)
        self._count_max = items_max(field)
        self._make_result = GetMessageClass(result_type)
        self._refusal = _only(each for each in result_type.fields if _holds_refusal(each))
        self._status = next(((each.name, number) for each, number in _refused_values(result_type)), None)
        self._echoed = [
            (each.name, mine.json_name)
            for each in result_type.fields
            if (mine := field.message_type.fields_by_name.get(each.name)) and each.type == FieldDescriptor.TYPE_STRING
        ]
        self._index = re.compile(re.escape(field.json_name) + r"\[(\d+)\]")

    def take(self, body: Any) -> Any:
        """Takes the items out of a parsed body and gives them, None where it has none."""
        if body.__class__ is not dict:
            return None
        for name in (self.field.json_name, self.field.name):
            if name in body:
                return body.pop(name)
        return None

    def read(self, items: Any, message: Any) -> Split:
        """Reads each item by itself into the message. Raises FIELD_INVALID where none is well formed."""
        if items is None:
            return Split(0, [], {}, {})
        if items.__class__ is not list:
            raise MalformedError.at("must be a list", self.field.json_name)
        if len(items) > self._count_max:
            raise MalformedError.at(f"must have at most {self._count_max} items", self.field.json_name)
        split = Split(len(items), [], {}, {})
        target = getattr(message, self.field.name)
        for place, item in enumerate(items):
            try:
                self._decode(item, target.add())
                split.read.append(place)
            except MalformedError as malformed:
                del target[-1]
                split.faults[place] = malformed.violations
                split.results[place] = self._refused(item, malformed.violations)
        if split.faults and not split.read:
            raise self._all_refused(split.faults)
        return split

    def _refused(self, item: Any, faults: list[Violation]) -> Any:
        """Makes the result of an item that could not be read, with the id that it brought where that is a text."""
        error = errors.field_invalid(*faults)
        result = self._make_result()
        refusal = refusal_pb2.Refusal(
            reason=error.reason,
            message=error.message.removeprefix(": "),
            field=faults[0].field,
            fields=[each.field for each in faults],
            metadata=error.metadata,
        )
        getattr(result, self._refusal).CopyFrom(refusal)
        if self._status is not None:
            setattr(result, *self._status)
        for name, json_name in self._echoed:
            given = item.get(json_name, item.get(name)) if item.__class__ is dict else None
            if given.__class__ is str:
                setattr(result, name, given)
        return transcode.to_json(result)

    def _all_refused(self, faults: Mapping[int, list[Violation]]) -> DomainError:
        found = [
            violation
            for place, violations in sorted(faults.items())
            for violation in MalformedError(violations).under(f"{self.field.json_name}[{place}]")
        ]
        return errors.field_invalid(*found[:VIOLATIONS_MAX])

    def merge(self, answer: dict[str, Any], split: Split) -> None:
        """Puts the results of the items that could not be read between those of the service, each at its place."""
        if not split.results:
            return
        results = answer[RESULTS]
        assert len(results) == len(split.read), "The service answers each item."
        placed = dict(zip(split.read, results, strict=True)) | split.results
        answer[RESULTS] = [placed[place] for place in range(split.count)]

    def widen(self, error: DomainError, split: Split) -> DomainError:
        """Turns the service's refusal of the whole call into one that speaks of the call as it came.

        The service counts the items that it was sent; where it found none of them well formed, no item of the call was.
        """
        if error.reason != "FIELD_INVALID" or not split.results:
            return error
        faults: dict[int, list[Violation]] = dict(split.faults)
        for violation in error.violations:
            match = self._index.match(violation.field)
            if match is None or int(match[1]) >= len(split.read):
                return error
            rest = violation.field[match.end() :].removeprefix(".")
            faults.setdefault(split.read[int(match[1])], []).append(Violation(rest, violation.message))
        return self._all_refused(faults)


def _holds_refusal(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == refusal_pb2.Refusal.DESCRIPTOR.full_name


def _refused_values(result: Descriptor) -> Iterator[tuple[FieldDescriptor, int]]:
    for field in result.fields:
        for value in field.enum_type.values if field.enum_type is not None else ():
            if value.name.endswith(REFUSED):
                yield field, value.number


def _only(found: Iterator[FieldDescriptor]) -> str:
    names = [each.name for each in found]
    assert len(names) == 1, "A result says in one field why it was refused."
    return names[0]
