"""Update masks: which fields of a referral program a PATCH changes (AIP-134)."""

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from plaudit.referral.v1 import referral_pb2

from services.kernel import errors, fields
from services.referral import convert, model

ALL = "*"
# The id says which referral program, the etag which version; neither is changed.
FIXED = ("referral_program_id", "etag")


def _changeable() -> dict[str, FieldDescriptor]:
    found = {}
    for field in referral_pb2.ReferralProgram.DESCRIPTOR.fields:
        behaviours = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if field_behavior_pb2.OUTPUT_ONLY not in behaviours and field.name not in FIXED:
            found[field.name] = field
    return found


CHANGEABLE = _changeable()
BY_JSON_NAME = {field.json_name: name for name, field in CHANGEABLE.items()}


def paths(mask: str, program: referral_pb2.ReferralProgram) -> list[str]:
    """Lists the fields to change, in the order of the contract: those that are set where the mask is empty.

    Raises FIELD_INVALID for a name that is unknown or cannot be changed.
    """
    if mask == ALL:
        return list(CHANGEABLE)
    if not mask:
        present = {field.name for field, _ in program.ListFields()}
        return [name for name in CHANGEABLE if name in present]
    wanted = {BY_JSON_NAME.get(name.strip(), name.strip()) for name in mask.split(",")}
    unknown = sorted(wanted - set(CHANGEABLE) - set(FIXED))
    if unknown:
        raise errors.field_invalid(errors.Violation("updateMask", f"has no changeable field {', '.join(unknown)}"))
    return [name for name in CHANGEABLE if name in wanted]


def changed_program(
    current: model.ReferralProgram, given: referral_pb2.ReferralProgram, names: list[str]
) -> model.ReferralProgram:
    """Gives the referral program with the named fields as given. Raises FIELD_INVALID where that is no whole one."""
    merged = convert.program_to_proto(current)
    for name in names:
        _copy(name, given, merged)
    found = [errors.Violation(f"referralProgram.{each.field}", each.message) for each in fields.violations(merged)]
    if found:
        raise errors.field_invalid(*found)
    return convert.program(merged)


def content(given: referral_pb2.ReferralProgram, names: list[str]) -> dict[str, object]:
    """Gives what was asked for, field by field, for the fingerprint."""
    values: dict[str, object] = {
        "referralProgramId": given.referral_program_id,
        "etag": given.etag,
        "updateMask": ",".join(names),
    }
    for name, field in CHANGEABLE.items():
        alone = referral_pb2.ReferralProgram()
        _copy(name, given, alone)
        values[field.json_name] = alone.SerializeToString(deterministic=True).hex() if name in names else ""
    return values


def _copy(name: str, source: Message, target: Message) -> None:
    """Makes one field of the target what it is in the source."""
    target.ClearField(name)
    if CHANGEABLE[name].is_repeated:
        getattr(target, name).extend(getattr(source, name))
    else:
        setattr(target, name, getattr(source, name))
