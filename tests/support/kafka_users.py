"""Users, their rights and quotas, made as an administrator makes them: requests that aiokafka's admin client lacks.

By hand, on a listener where whoever connects is a super user; https://kafka.apache.org/protocol has the formats.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from typing import Literal

Operation = Literal["read", "write", "describe"]
Resource = Literal["topic", "group", "transactional id"]

_ITERATIONS = 4096
_SHA_512 = 2
_RESOURCES = {"topic": 2, "group": 3, "transactional id": 5}
_OPERATIONS = {"read": 3, "write": 4, "describe": 8}
_PREFIXED, _ALLOW = 4, 3


def add_scram_user(server: str, name: str, password: str) -> None:
    """AlterUserScramCredentials, version 0: the broker keeps the salted password (RFC 5802), never the password."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    user = _bytes(name.encode()) + struct.pack(">bi", _SHA_512, _ITERATIONS) + _bytes(salt) + _bytes(salted) + b"\0"
    _ask(server, 51, 0, b"\1" + b"\2" + user + b"\0")


def allow(server: str, principal: str, operation: Operation, resource: Resource, prefix: str) -> None:
    """CreateAcls, version 3: the principal may do this to every such resource whose name begins so."""
    answer = _ask(server, 30, 3, b"\2" + _rule(principal, operation, resource, prefix) + b"\0")
    assert answer[10:12] == b"\0\0", answer  # the rule's error code


def allow_no_more(server: str, principal: str, operation: Operation, resource: Resource, prefix: str) -> None:
    """DeleteAcls, version 3: takes back what `allow` gave."""
    answer = _ask(server, 31, 3, b"\2" + _rule(principal, operation, resource, prefix) + b"\0")
    assert answer[10:14] == b"\0\0\0\2", answer  # no error code, no message, one rule that was deleted


def _rule(principal: str, operation: Operation, resource: Resource, prefix: str) -> bytes:
    return (
        struct.pack(">b", _RESOURCES[resource]) + _bytes(prefix.encode()) + struct.pack(">b", _PREFIXED)
        + _bytes(f"User:{principal}".encode()) + _bytes(b"*")
        + struct.pack(">bb", _OPERATIONS[operation], _ALLOW) + b"\0"
    )  # fmt: skip


def limit_producer(server: str, client_id: str, bytes_per_s: float | None) -> None:
    """AlterClientQuotas, version 1: the broker answers this client's writes so slowly; None lifts the limit."""
    entity = b"\2" + _bytes(b"client-id") + _bytes(client_id.encode()) + b"\0"
    value = struct.pack(">d?", bytes_per_s or 0.0, bytes_per_s is None)
    limit = b"\2" + _bytes(b"producer_byte_rate") + value + b"\0"
    answer = _ask(server, 49, 1, b"\2" + entity + limit + b"\0" + b"\0" + b"\0")
    assert answer[10:12] == b"\0\0", answer  # the entry's error code


def _ask(server: str, api: int, version: int, body: bytes) -> bytes:
    host, _, port = server.rpartition(":")
    request = struct.pack(">hhih", api, version, 1, -1) + b"\0" + body
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb")
        return answer.read(int(struct.unpack(">i", answer.read(4))[0]))


def _bytes(data: bytes) -> bytes:
    """Compact bytes or string: the length plus one, in one byte as long as it is small."""
    assert len(data) < 127
    return bytes([len(data) + 1]) + data
