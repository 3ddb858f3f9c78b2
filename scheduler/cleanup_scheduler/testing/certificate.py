"""A self-signed certificate for a server on loopback, without a cryptography package.

It exists because kubectl sends its token over TLS only. The key lives as long as the server and protects
nothing but loopback traffic of a test tool; the arithmetic is not hardened against side channels. Use it for
nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import UTC, datetime, timedelta

# NIST P-256: y² = x³ - 3x + b over the field of size P, generator G of order N.
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int] | None

_OID_EC_KEY, _OID_P256 = "2a8648ce3d0201", "2a8648ce3d030107"
_OID_ECDSA_SHA256, _OID_COMMON_NAME = "2a8648ce3d040302", "550403"
_OID_SUBJECT_KEY, _OID_KEY_USAGE, _OID_ALTERNATIVE_NAMES = "551d0e", "551d0f", "551d11"
_OID_BASIC, _OID_AUTHORITY_KEY, _OID_EXTENDED_USAGE = "551d13", "551d23", "551d25"
_OID_SERVER_AUTH = "2b06010505070301"


def _add(a: _Point, b: _Point) -> _Point:
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0] and (a[1] + b[1]) % _P == 0:
        return None
    if a == b:
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, _P) % _P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, _P) % _P
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _multiply(factor: int) -> tuple[int, int]:
    result: _Point = None
    addend: _Point = _G
    while factor:
        if factor & 1:
            result = _add(result, addend)
        addend = _add(addend, addend)
        factor >>= 1
    if result is None:
        raise ValueError("the factor is a multiple of the group's order")
    return result


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, *parts)


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(encoded: str) -> bytes:
    return _der(0x06, bytes.fromhex(encoded))


def _bits(content: bytes, unused: int = 0) -> bytes:
    return _der(0x03, bytes([unused]) + content)


def _extension(oid: str, content: bytes, *, critical: bool = False) -> bytes:
    flag = b"\x01\x01\xff" if critical else b""
    return _sequence(_oid(oid), flag, _der(0x04, content))


def _pem(label: str, der: bytes) -> str:
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n"


def _sign(private: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    while True:
        nonce = secrets.randbelow(_N - 1) + 1
        r = _multiply(nonce)[0] % _N
        s = pow(nonce, -1, _N) * (digest + r * private) % _N
        if r and s:
            return _sequence(_integer(r), _integer(s))


def _extensions(public: bytes) -> bytes:
    key_id = hashlib.sha1(public, usedforsecurity=False).digest()
    names = _sequence(_der(0x87, bytes([127, 0, 0, 1])), _der(0x82, b"localhost"))
    return _sequence(
        _extension(_OID_BASIC, _sequence(b"\x01\x01\xff"), critical=True),
        _extension(_OID_KEY_USAGE, _bits(bytes([0b10000100]), 2), critical=True),
        _extension(_OID_EXTENDED_USAGE, _sequence(_oid(_OID_SERVER_AUTH))),
        _extension(_OID_SUBJECT_KEY, _der(0x04, key_id)),
        _extension(_OID_AUTHORITY_KEY, _sequence(_der(0x80, key_id))),
        _extension(_OID_ALTERNATIVE_NAMES, names),
    )


def loopback_certificate(valid_days: int = 30) -> tuple[str, str]:
    """A fresh certificate for 127.0.0.1 and localhost, and its private key, both as PEM."""
    private = secrets.randbelow(_N - 1) + 1
    x, y = _multiply(private)
    public = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    curve = _sequence(_oid(_OID_EC_KEY), _oid(_OID_P256))
    algorithm = _sequence(_oid(_OID_ECDSA_SHA256))
    name = _sequence(_der(0x31, _sequence(_oid(_OID_COMMON_NAME), _der(0x0C, b"embedded cluster"))))
    moment = datetime.now(UTC)
    begin, end = moment - timedelta(hours=1), moment + timedelta(days=valid_days)
    validity = _sequence(*(_der(0x18, t.strftime("%Y%m%d%H%M%SZ").encode()) for t in (begin, end)))
    content = _sequence(
        _der(0xA0, _integer(2)),
        _integer(secrets.randbits(120) + 1),
        algorithm,
        name,
        validity,
        name,
        _sequence(curve, _bits(public)),
        _der(0xA3, _extensions(public)),
    )
    certificate = _sequence(content, algorithm, _bits(_sign(private, content)))
    ec_key = _sequence(_integer(1), _der(0x04, private.to_bytes(32, "big")), _der(0xA1, _bits(public)))
    key = _sequence(_integer(0), curve, _der(0x04, ec_key))
    return _pem("CERTIFICATE", certificate), _pem("PRIVATE KEY", key)
