"""Limits of fields that their contracts do not say one by one."""

TEXT_LENGTH_MAX = 4096
ITEM_LENGTH_MAX = 200  # of a text in a list
VIOLATIONS_MAX = 20
# Of a path through properties, whose keys are the caller's: all violations together fit the metadata of an answer.
PATH_LENGTH_MAX = 120
TIMESTAMP_SECONDS_MIN = -62135596800  # 0001-01-01, the first instant of a Timestamp
TIMESTAMP_SECONDS_MAX = 253402300799  # 9999-12-31
STRUCT_KEYS_MAX = 100
STRUCT_DEPTH_MAX = 8
STRUCT_BYTES_MAX = 32 * 1024
EXACT_INTEGER_MAX = 2**53
