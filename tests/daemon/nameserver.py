"""A name server for tests: answers from a dict, over UDP on loopback, from a thread of its own."""

from __future__ import annotations

import socket
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

_OCTETS = 4096


class NameServer:
    """``zone`` maps ``name TYPE`` to the data of its records, or to a code such as ``SERVFAIL`` or ``silent``.

    A name of which nothing is known does not exist.
    """

    def __init__(self, zone: dict[str, list[str] | str]) -> None:
        self.zone = zone
        self.asked: list[str] = []
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.port = int(self._sock.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._sock.close()

    def _serve(self) -> None:
        while True:
            octets, client = self._sock.recvfrom(_OCTETS)
            if not octets:
                return
            answer = self._answer(dns.message.from_wire(octets))
            if answer is not None:
                self._sock.sendto(answer.to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        said = self.zone.get(f"{name} {kind}")
        if said == "silent":
            return None
        if isinstance(said, str):
            response.set_rcode(dns.rcode.from_text(said))
        elif said is None:
            alias = self.zone.get(f"{name} CNAME")
            if alias:
                target = alias[0].rstrip(".")
                response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "CNAME", *alias))
                records = self.zone.get(f"{target} {kind}") or []
                if isinstance(records, list) and records:
                    response.answer.append(dns.rrset.from_text(f"{target}.", 60, "IN", kind, *records))
            elif not any(key.startswith(f"{name} ") for key in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *said))
        return response
