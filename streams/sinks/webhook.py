"""Alerts as HTTP requests: POST, the alert as JSON, signed.

| header | content |
|---|---|
| penstock-schema | `alert/1` |
| penstock-timestamp | Unix s at which this attempt was made |
| penstock-signature | `sha256=` and the HMAC-SHA256 of the timestamp, a full stop and the body, in hexadecimal |

A receiver computes the signature from the body as it came, compares in constant time, and refuses timestamps that are
minutes old: then nobody can forge an alert, nor send an old one again. Without a secret there is no signature.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import time
from collections.abc import Callable

import aiohttp

from penstock.schemas.alerts import Alert, encode_alert
from penstock.streams.sinks.sinks import NotTold

TIMEOUT_S = 10.0

_TRY_AGAIN = {408, 425, 429}
"""Beside 5xx: what the receiver itself calls passing."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `penstock-signature` says of a body.

    >>> signature("s3cret", "1357034400", b'{"id":"drift-5f0c2ab917"}')[:23]
    'sha256=aaa3aeb6d6dbeb8f'
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


class Webhook:
    """Posts alerts to one URL. `clock` gives Unix s.

    Errors never show the URL: with many services its path is the secret.
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret: str | None,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._secret, self._clock = url, secret, clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def tell(self, alert: Alert) -> None:
        _, body, headers = encode_alert(alert)
        timestamp = str(int(self._clock()))
        sent = {"content-type": "application/json", "penstock-timestamp": timestamp}
        sent |= {name: value.decode() for name, value in headers}
        if self._secret is not None:
            sent["penstock-signature"] = signature(self._secret, timestamp, body)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.post(self._url, data=body, headers=sent, allow_redirects=False) as answer:
                status = answer.status
        except TimeoutError as error:
            raise NotTold(f"no answer within {self._timeout.total:g} s", again=True) from error
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise NotTold("TLS failed", again=True) from error
        except aiohttp.InvalidURL as error:
            raise NotTold("alerts.webhook is no URL", again=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise NotTold(f"the connection failed ({type(error).__name__})", again=True) from error
        if not 200 <= status < 300:
            raise NotTold(f"it answered {status}", again=status >= 500 or status in _TRY_AGAIN)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
