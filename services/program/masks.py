"""Update masks: which fields of a rule a PATCH changes (AIP-134)."""

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from plaudit.program.v1 import program_pb2

from services.kernel import errors, fields
from services.program import convert, model

ALL = "*"
# The id says which rule, the etag which version; neither is changed.
FIXED = ("rule_id", "etag")
# Fields that rules did not have when the first requests were made: who names none of them asks for the same as then.
LATER = frozenset({"promotional", "campaign_id", "budget_id", "pending"})


def _changeable() -> dict[str, FieldDescriptor]:
    found = {}
    for field in program_pb2.Rule.DESCRIPTOR.fields:
        behaviours = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.OUTPUT_ONLY not in behaviours and field.name not in FIXED:
            found[field.name] = field
    return found


CHANGEABLE = _changeable()
BY_JSON_NAME = {field.json_name: name for name, field in CHANGEABLE.items()}


def paths(mask: str, rule: program_pb2.Rule) -> list[str]:
    """Lists the fields to change, in the order of the contract: those that are set where the mask is empty.

    Raises FIELD_INVALID for a name that is unknown or cannot be changed.
    """
    if mask == ALL:
        return list(CHANGEABLE)
    if not mask:
        present = {field.name for field, _ in rule.ListFields()}
        return [name for name in CHANGEABLE if name in present]
    wanted = {BY_JSON_NAME.get(name.strip(), name.strip()) for name in mask.split(",")}
    unknown = sorted(wanted - set(CHANGEABLE) - set(FIXED))
    if unknown:
        raise errors.field_invalid(errors.Violation("updateMask", f"has no changeable field {', '.join(unknown)}"))
    return [name for name in CHANGEABLE if name in wanted]


def changed_rule(current: model.Rule, given: program_pb2.Rule, names: list[str]) -> model.Rule:
    """Gives the rule with the named fields as given. Raises FIELD_INVALID where the result is no whole rule."""
    merged = convert.rule_to_proto(current)
    for name in names:
        _copy(name, given, merged)
    found = [errors.Violation(f"rule.{each.field}", each.message) for each in fields.violations(merged)]
    if found:
        raise errors.field_invalid(*found)
    wanted = convert.rule(merged)
    return model.Rule(
        **{
            **{name: getattr(wanted, name) for name in model.Rule.__dataclass_fields__},
            "created_at": current.created_at,
        }
    )


def content(given: program_pb2.Rule, names: list[str]) -> dict[str, object]:
    """Gives what was asked for, field by field, for the fingerprint."""
    values: dict[str, object] = {"ruleId": given.rule_id, "etag": given.etag, "updateMask": ",".join(names)}
    for name, field in CHANGEABLE.items():
        if name in LATER and name not in names:
            continue
        alone = program_pb2.Rule()
        _copy(name, given, alone)
        values[field.json_name] = alone.SerializeToString(deterministic=True).hex() if name in names else ""
    return values


def _copy(name: str, source: Message, target: Message) -> None:
    """Makes one field of the target what it is in the source."""
    target.ClearField(name)
    field = CHANGEABLE[name]
    if field.is_repeated:
        getattr(target, name).extend(getattr(source, name))
    elif field.message_type is None:
        setattr(target, name, getattr(source, name))
    elif source.HasField(name):
        getattr(target, name).CopyFrom(getattr(source, name))
