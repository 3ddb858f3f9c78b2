"""Kubernetes quantities (``500m``, ``1Gi``): read into exact numbers, written in their canonical form."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60}
_EXPONENTS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL = {suffix: Decimal(10) ** exponent for suffix, exponent in _EXPONENTS.items()}


def parse_quantity(text: object) -> Decimal:
    """The number that a quantity stands for. Raises ValueError with the text when it is none."""
    written = str(text)
    factor = Decimal(1)
    number = written
    if written[-2:] in _BINARY:
        number, factor = written[:-2], Decimal(_BINARY[written[-2:]])
    elif written[-1:] in _DECIMAL:
        number, factor = written[:-1], _DECIMAL[written[-1:]]
    try:
        return Decimal(number) * factor
    except InvalidOperation as error:
        raise ValueError(f"{written!r} is not a quantity such as 2, 500m or 1Gi") from error


def format_quantity(value: Decimal, *, binary: bool = False) -> str:
    """Canonical: the largest suffix that leaves a whole number; ``binary`` for memory."""
    if value != value.to_integral_value():
        return f"{(value * 1000).to_integral_value()}m"
    whole = int(value)
    for suffix, factor in reversed(list(_BINARY.items()) if binary else []):
        if whole and whole % factor == 0:
            return f"{whole // factor}{suffix}"
    return str(whole)


def canonical_quantity(written: object) -> str:
    """As the API gives it back: ``1000m`` is 1, ``1024Mi`` is 1Gi, a number is text; what is none stays."""
    text = str(written)
    if text[-1:] in ("k", "M", "G", "T", "P", "E"):
        return text
    try:
        return format_quantity(parse_quantity(text), binary=text[-1:] == "i")
    except ValueError:
        return text
