"""Short names made of a text: for what items share, and for ids where the source's own are long."""

import hashlib

_DIGITS = 16


def name_of_text(text: object) -> str:
    """The first 64 bits of the sha256 of a text, in 16 hex digits.

    Among the 14,042 items of the longest source, two different texts have one name with a chance of 5e-12.
    """
    return hashlib.sha256(str(text).encode()).hexdigest()[:_DIGITS]
