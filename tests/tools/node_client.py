#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-only
"""What a storage node is asked, by hand: the node protocol's signatures (garnerfs-node(7)) without any code of garnerfs.

  node_client.py --cluster FILE [--timeout S] [--map VERSION] METHOD ADDRESS TARGET     signs, sends, prints the body; exit code 0 for a status of 2xx

As a module: Cluster (key and certificates), Client (one connection, its session), request_text(), request_mac(), answer_mac().
"""
import hashlib
import http.client
import os
import ssl
import struct
import sys
import time

ZERO_SESSION = bytes(16)


def digest_of(body):
    """The first 32 bytes of BLAKE2bp: BLAKE2b of every fourth block of 128 bytes, four times, and of the four results."""
    def node(data, offset, depth, last):
        return hashlib.blake2b(data, fanout=4, depth=2, node_offset=offset, node_depth=depth, inner_size=64, last_node=last).digest()

    blocks = [body[at:at + 128] for at in range(0, len(body), 128)]
    lanes = [node(b"".join(blocks[lane::4]), lane, 0, lane == 3) for lane in range(4)]
    return node(b"".join(lanes), 0, 1, True).hex()[:64]


class Cluster:
    """What `garner cluster init` made: the key, and with TLS the certificates."""

    def __init__(self, path, key=None):
        directory = os.path.dirname(os.path.abspath(path))
        with open(os.path.join(directory, "cluster.key"), encoding="ascii") as f:
            self.key = key or bytes.fromhex(f.read().strip())
        self.tls = None
        if os.path.exists(os.path.join(directory, "ca.pem")):
            self.tls = ssl.create_default_context(cafile=os.path.join(directory, "ca.pem"))
            for pem in ("gateway.pem", "node.pem"):
                if os.path.exists(os.path.join(directory, pem)):
                    self.tls.load_cert_chain(os.path.join(directory, pem))
                    break

    def connect(self, address, timeout=20, source=None):
        """A connection, of http.client."""
        host, port = address.rsplit(":", 1)
        if self.tls:
            return http.client.HTTPSConnection(host, int(port), timeout=timeout, context=self.tls, source_address=source)
        return http.client.HTTPConnection(host, int(port), timeout=timeout, source_address=source)


def _mac(key, label, fields):
    h = hashlib.blake2b(key=key, digest_size=32)
    for field in [label.encode()] + fields:
        h.update(struct.pack("<Q", len(field)) + field)
    return h.hexdigest()


def _number(n):
    return struct.pack("<Q", n)


def _headers(headers, but):
    listed = sorted((k.lower(), v) for k, v in headers.items() if k.lower().startswith("x-garner-") and k.lower() != but)
    fields = [_number(len(listed))]
    for name, value in listed:
        fields += [name.encode(), value.encode()]
    return fields


def request_mac(key, method, target, headers, length, session, time_ms, nonce):
    lower = {k.lower(): v for k, v in headers.items()}
    fields = [method.encode(), target.encode(), session, _number(time_ms), nonce, _number(length),
              lower.get("x-garner-digest", "").encode()]
    fields += _headers(headers, "x-garner-digest") + [lower.get("range", "").encode()]
    return _mac(key, "garner-request-1", fields)


def answer_mac(key, nonce, status, length, headers):
    return _mac(key, "garner-answer-1", [nonce, _number(status), _number(length)] + _headers(headers, "x-garner-answer"))


def challenge_mac(key, session, time_ms, nonce):
    return _mac(key, "garner-challenge-1", [session, _number(time_ms), nonce])


class Client:
    """One connection to a node, and what is known of its session."""

    def __init__(self, cluster, address, timeout=20, source=None):
        self.cluster, self.address, self.timeout = cluster, address, timeout
        self.session, self.start = ZERO_SESSION, 0.0
        self.connection = cluster.connect(address, timeout, source)
        self.nonce = b""

    def session_ms(self):
        return 0 if self.session == ZERO_SESSION else int((time.monotonic() - self.start) * 1000)

    def authorization(self, method, target, headers, length, shift_ms=0):
        self.nonce = os.urandom(16)
        now = self.session_ms() + shift_ms
        mac = request_mac(self.cluster.key, method, target, headers, length, self.session, now, self.nonce)
        return f"Garner session={self.session.hex()},time={now},nonce={self.nonce.hex()},mac={mac}"

    def learn(self, challenge):
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        session, now = bytes.fromhex(parts["session"]), int(parts["time"])
        if parts["mac"] != challenge_mac(self.cluster.key, session, now, self.nonce):
            raise ValueError("the challenge was made without the key")
        self.session, self.start = session, time.monotonic() - now / 1000

    def request_text(self, method, target, headers=None, body=b"", shift_ms=0):
        """A whole request, signed, as it goes over the wire."""
        headers = dict(headers or {})
        if body and "X-Garner-Digest" not in headers:
            headers["X-Garner-Digest"] = digest_of(body)
        headers["Authorization"] = self.authorization(method, target, headers, len(body), shift_ms)
        if body or method in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.address}"] + [f"{k}: {v}" for k, v in headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def once(self, method, target, headers=None, body=b"", shift_ms=0):
        """Sends once. (status, headers, body)"""
        headers = dict(headers or {})
        if body and "X-Garner-Digest" not in headers:
            headers["X-Garner-Digest"] = digest_of(body)
        headers["Authorization"] = self.authorization(method, target, headers, len(body), shift_ms)
        try:
            self.connection.request(method, target, body=body or None, headers=headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        return answer.status, answer.headers, content

    def request(self, method, target, headers=None, body=b""):
        """Sends, and once more when the node tells its session. An answer that is not signed is not taken."""
        for _ in range(2):
            status, answered, content = self.once(method, target, headers, body)
            if status != 401 or "X-Garner-Challenge" not in answered:
                break
            self.learn(answered["X-Garner-Challenge"])
        length = int(answered.get("Content-Length", 0))
        if answered.get("X-Garner-Answer") != "mac=" + answer_mac(self.cluster.key, self.nonce, status, length, answered):
            raise ValueError(f"status {status}, and the answer is not signed by who has the key")
        return status, answered, content

    def hello(self):
        """Learns the session."""
        status, answered, _ = self.once("GET", "/v1/health")
        if status == 401:
            self.learn(answered["X-Garner-Challenge"])


def main():
    words, options = sys.argv[1:], {"--cluster": None, "--timeout": "20", "--map": ""}
    while words and words[0] in options:
        options[words[0]] = words[1]
        words = words[2:]
    if len(words) != 3 or not options["--cluster"]:
        sys.exit(__doc__)
    try:
        client = Client(Cluster(options["--cluster"]), words[1], float(options["--timeout"]))
        status, _, content = client.request(words[0], words[2], {"X-Garner-Map": options["--map"]} if options["--map"] else {})
    except (OSError, ValueError, http.client.HTTPException) as e:
        sys.exit(f"{words[1]}: {e}")
    sys.stdout.write(content.decode())
    if not 200 <= status < 300:
        sys.exit(f"{words[1]}: status {status}")


if __name__ == "__main__":
    main()
