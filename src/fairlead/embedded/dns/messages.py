"""DNS messages: a query in wire form in, the answer out, or None for what others have to answer. Pure.

Protocol: RFC 1035, RFC 2782 (SRV), RFC 6891 (sizes), by dnspython.
"""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from fairlead.embedded.dns.records import NOTHING, Cluster, Found, look_up, look_up_address

TTL_S = 5
"""As CoreDNS's default: long enough to be of use, short enough that a replaced pod is found."""

_UDP_BYTES = 512
_HEADER_BYTES = 12


class Resolver:
    """Answers for one cluster domain."""

    def __init__(self, cluster: Cluster, domain: str) -> None:
        self._cluster = cluster
        self._domain = domain
        self._zone = dns.name.from_text(domain)

    def answer(self, wire: bytes, *, is_udp: bool) -> bytes | None:
        """The answer to a query. None where the name is not the cluster's: the caller asks the machine's servers."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return _unreadable(wire)
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return _unreadable(wire)
        question = query.question[0]
        if question.rdclass != dns.rdataclass.IN:
            return None
        found = self._find(question.name)
        if found is None:
            return None
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AA
        self._fill(response, question, found)
        return _to_wire(response, query, is_udp=is_udp)

    def _find(self, name: dns.name.Name) -> Found | None:
        if name.is_subdomain(self._zone):
            labels = name.relativize(self._zone).labels
            return look_up(self._cluster, [part.decode("ascii", "replace").lower() for part in labels], self._domain)
        try:
            found = look_up_address(self._cluster, dns.reversename.to_address(name), self._domain)
        except (dns.exception.DNSException, ValueError):
            return None
        return None if found == NOTHING else found

    def _fill(self, response: dns.message.Message, question: dns.rrset.RRset, found: Found) -> None:
        name, wanted = question.name, question.rdtype
        if not found.exists:
            response.set_rcode(dns.rcode.NXDOMAIN)
        records: list[str] = []
        if found.alias:
            wanted, records = dns.rdatatype.CNAME, [f"{found.alias.rstrip('.')}."]
        elif wanted in (dns.rdatatype.A, dns.rdatatype.AAAA):
            colon = wanted == dns.rdatatype.AAAA
            records = [address for address in found.addresses if (":" in address) == colon]
        elif wanted == dns.rdatatype.SRV:
            records = [f"0 100 {record.port} {record.target}." for record in found.services]
        elif wanted == dns.rdatatype.PTR and found.pointer:
            records = [f"{found.pointer}."]
        if records:
            response.answer.append(dns.rrset.from_text_list(name, TTL_S, dns.rdataclass.IN, wanted, records))
        elif name.is_subdomain(self._zone):
            # Tells how long "no" may be remembered.
            said = f"ns.dns.{self._domain}. hostmaster.{self._domain}. 1 7200 1800 86400 {TTL_S}"
            soa = dns.rrset.from_text(self._zone, TTL_S, dns.rdataclass.IN, dns.rdatatype.SOA, said)
            response.authority.append(soa)


def _to_wire(response: dns.message.Message, query: dns.message.Message, *, is_udp: bool) -> bytes:
    limit = max(_UDP_BYTES, query.payload if query.edns >= 0 else 0) if is_udp else 0xFFFF
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        # The client asks again by TCP.
        response.flags |= dns.flags.TC
        response.answer.clear()
        response.authority.clear()
        return response.to_wire(max_size=limit)


def _unreadable(wire: bytes) -> bytes:
    """FORMERR for what has a header at least; nothing, which is not sent, for the rest, and for answers."""
    if len(wire) < _HEADER_BYTES or wire[2] & 0x80:
        return b""
    return wire[:2] + bytes((0x80 | wire[2] & 0x79, 0x80 | dns.rcode.FORMERR)) + bytes(8)


def failure(wire: bytes) -> bytes:
    """SERVFAIL: nobody could be asked."""
    query = dns.message.from_wire(wire)
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(dns.rcode.SERVFAIL)
    return response.to_wire()
