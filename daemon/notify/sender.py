"""``python -m meshdrop.daemon.notify.sender``: sends what it reads on stdin, and says on stdout what came of it.

A process of its own: a name server, a TLS library or a mail server that never answers holds up nobody, the service's
memory has none of the libraries, and the alarm ends it at the limit wherever it is. Nothing is printed but the answers
below, because messages of libraries quote addresses, and addresses are secrets.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time

#: Answers that say nothing about the message: the receiver wants to be left alone, or only its proxy is there.
AWAY = frozenset({429, 502, 503, 504})


def main() -> None:
    """Send one part of the request after the other, for as long as one may take; stop at a receiver that is away.

    The request names the module whose ``send(part, limit_s)`` does it and returns ``status``, ``trouble`` and perhaps
    ``wait_s``, as ``courier.SendOutcome`` has them.
    """
    request = json.load(sys.stdin)
    send = importlib.import_module(request["task"]).send
    end = time.monotonic() + request["limit_s"]
    for part in request["parts"]:
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"])
        answer = send(part, request["limit_s"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(answer), flush=True)
        if (answer["trouble"] and answer["status"] in (None, *AWAY)) or time.monotonic() > end:
            return


if __name__ == "__main__":
    main()
