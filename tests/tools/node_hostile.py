#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-only
"""Does to a storage node what must be refused, and looks at how it is.

  node_hostile.py attack --cluster FILE --map VERSION [--strangers FILE] [--from ADDRESS] ADDRESS POOL     all at once; exit code 1
                                                                                 when something was not refused
  node_hostile.py lie --cluster FILE --map VERSION --listen HOST:PORT                    a node with the right key that lies about bytes

`attack`: --strangers names the cluster file of another cluster, whose key and certificates are real, and wrong here. Objects are
put under POOL/right/..., where all must be there afterwards, and POOL/wrong/..., where nothing may be.
`lie`: takes what other nodes put, and gives it with other bytes than those that it was given the digest of; so it does with all that
gateways ask. When it is compared with, it has an object POOL/wrong/lie that was never put. Says how often it lied in which way.
"""
import concurrent.futures
import http.server
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import node_client as nc  # noqa: E402

PATIENCE = 40  # seconds: more than a node has with anybody


def version(counter=None):
    return f"{counter or time.time_ns():016x}.{struct.unpack('<Q', os.urandom(8))[0]:016x}"


class Attack:
    def __init__(self, options, address, pool):
        self.cluster = nc.Cluster(options["--cluster"])
        self.strangers = nc.Cluster(options["--strangers"]) if options.get("--strangers") else None
        self.map, self.address, self.pool = options["--map"], address, pool
        self.counted, self.sources = 0, {}
        self.first_source = options.get("--from")

    # ---- tools ----

    def source(self):
        """Each way comes from an address of its own, where there are some: then each has its own lines in the log."""
        return (self.sources[threading.current_thread().name], 0) if self.sources else None

    def put_headers(self, body):
        return {"X-Garner-Map": self.map, "X-Garner-Version": version(), "X-Garner-Digest": nc.digest_of(body)}

    def target(self, name):
        return f"/v1/object/{self.pool}/{name}"

    def client(self):
        client = nc.Client(self.cluster, self.address, PATIENCE, self.source())
        client.hello()
        return client

    def raw(self, tls=True):
        host, port = self.address.rsplit(":", 1)
        s = socket.create_connection((host, int(port)), PATIENCE, self.source())
        return self.cluster.tls.wrap_socket(s, server_hostname=host) if tls and self.cluster.tls else s

    @staticmethod
    def answer(s):
        """All that comes until the node closes, or stops; and how long it took."""
        began, got = time.monotonic(), b""
        try:
            while b"\r\n\r\n" not in got:
                more = s.recv(65536)
                if not more:
                    break
                got += more
        except (ConnectionError, ssl.SSLError):
            pass
        return got, time.monotonic() - began

    @staticmethod
    def expect(got, statuses):
        status = int(got.split(b" ", 2)[1]) if got.startswith(b"HTTP/1.1 ") else 0
        if status not in statuses:
            raise AssertionError(f"answered {status}, not {statuses}: {got[:200]!r}")

    def refused_connection(self, connect):
        """A request on that connection gets no answer at all, or one that refuses."""
        try:
            s = connect()
            s.sendall(f"GET /v1/health HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode())
            got, _ = self.answer(s)
        except (OSError, ssl.SSLError):
            return
        if got.startswith(b"HTTP/1.1 2"):
            raise AssertionError(f"answered {got[:100]!r}")

    # ---- what is done ----

    def rightful(self):
        """Others go on: puts and reads all the time."""
        client = self.client()
        until = time.monotonic() + 22
        while time.monotonic() < until:
            self.counted += 1
            body, name = os.urandom(3000), self.target(f"right/{self.counted}")
            status, _, _ = client.request("PUT", name, self.put_headers(body), body)
            if status != 201:
                raise AssertionError(f"a put was answered {status}")
            status, _, got = client.request("GET", name, {"X-Garner-Map": self.map, "X-Garner-Read": "latest"})
            if status != 200 or got != body:
                raise AssertionError(f"a read was answered {status}")
            time.sleep(0.02)

    def wrong_key(self):
        client = self.client()
        client.cluster = nc.Cluster.__new__(nc.Cluster)
        client.cluster.key, client.cluster.tls = os.urandom(32), self.cluster.tls
        body = b"x" * 100
        status, headers, _ = client.once("PUT", self.target("wrong/key"), self.put_headers(body), body)
        if status != 401 or "X-Garner-Challenge" in headers or "X-Garner-Answer" in headers:
            raise AssertionError(f"answered {status}: {headers}")

    def unsigned(self):
        s = self.raw()
        s.sendall(f"DELETE {self.target('right/1')} HTTP/1.1\r\nHost: x\r\nX-Garner-Map: {self.map}\r\n"
                  f"X-Garner-Version: {version()}\r\n\r\n".encode())
        self.expect(self.answer(s)[0], [401])

    def changed(self):
        """Signed for one name, and sent for another; and with another version."""
        for a, b in ((b"wrong/one", b"wrong/two"), (b"X-Garner-Create: quorum", b"X-Garner-Create: claim")):
            client = self.client()
            body = b"y" * 100
            text = client.request_text("PUT", self.target("wrong/one"), {**self.put_headers(body), "X-Garner-Create": "quorum"}, body)
            s = self.raw()
            s.sendall(text.replace(a, b))
            self.expect(self.answer(s)[0], [401])

    def replayed(self):
        """What was recorded is sent again: to the same node, on another connection."""
        client = self.client()
        removal = client.request_text("DELETE", self.target("right/replayed"), {"X-Garner-Map": self.map, "X-Garner-Version": version()})
        s = self.raw()
        s.sendall(removal)
        self.expect(self.answer(s)[0], [204])
        body = b"z" * 100
        client.request("PUT", self.target("right/replayed"), self.put_headers(body), body)
        s = self.raw()
        s.sendall(removal)
        got, _ = self.answer(s)
        self.expect(got, [401])
        if b"replayed" not in got:
            raise AssertionError(f"it does not say why: {got!r}")
        status, _, got = client.request("GET", self.target("right/replayed"), {"X-Garner-Map": self.map, "X-Garner-Read": "latest"})
        if status != 200 or got != body:
            raise AssertionError("the replayed removal has removed it")

    def expired(self):
        client = self.client()
        while client.session_ms() < 31000:
            time.sleep(0.5)
        for shift in (-30500, 31000, 10**9):
            client = self.client()
            body = b"e" * 100
            status, headers, _ = client.once("PUT", self.target("wrong/expired"), self.put_headers(body), body, shift_ms=shift)
            if status != 401 or "X-Garner-Challenge" not in headers:
                raise AssertionError(f"{shift} ms: answered {status}")

    def oversized_header(self):
        s = self.raw()
        try:
            s.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200000 + b"\r\n\r\n")
        except (ConnectionError, ssl.SSLError):
            pass
        self.expect(self.answer(s)[0], [431])

    def many_headers(self):
        s = self.raw()
        s.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(500)) + b"\r\n")
        self.expect(self.answer(s)[0], [431])

    def long_line(self):
        s = self.raw()
        s.sendall(b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        self.expect(self.answer(s)[0], [414, 431])

    def malformed(self):
        for text in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200) + b"\r\n\r\n",
                     b"GET / HTTP/1.0\r\n\r\n", b"PUT /v1/object/p/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                     b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"GET  HTTP/1.1\nHost: x\n\n"):
            s = self.raw()
            s.sendall(text)
            self.expect(self.answer(s)[0], [400, 401, 404, 411, 414, 501, 505])

    def half_a_body(self):
        client = self.client()
        body = os.urandom(500000)
        text = client.request_text("PUT", self.target("wrong/half"), self.put_headers(body), body)
        s = self.raw()
        s.sendall(text[:len(text) - 250000])
        s.close()
        s = self.raw()  # and one that stays
        s.sendall(client.request_text("PUT", self.target("wrong/half"), self.put_headers(body), body)[:-250000])
        got, took = self.answer(s)
        if got.startswith(b"HTTP/1.1 2") or took > 35:
            raise AssertionError(f"after {took:.0f} s: {got[:100]!r}")

    def slow_loris(self):
        """Heads and bodies that come byte by byte, on many connections."""
        client = self.client()
        body = os.urandom(4000)
        heads = [self.raw() for _ in range(30)]
        bodies = [self.raw() for _ in range(10)]
        for s in bodies:
            s.sendall(client.request_text("PUT", self.target("wrong/slow"), self.put_headers(body), body)[:-4000])
        text, began, open_ones = b"GET /v1/health HTTP/1.1\r\nHost: slow\r\nX-A: ", time.monotonic(), heads + bodies
        for i in range(10**6):
            for s in list(open_ones):
                try:
                    s.sendall(text[i:i + 1] or b"a")
                    s.settimeout(0.001)
                    if s.recv(4096) == b"":
                        raise ConnectionError
                except (TimeoutError, ssl.SSLWantReadError):
                    pass
                except (OSError, ssl.SSLError):
                    open_ones.remove(s)
            if not open_ones:
                return
            if time.monotonic() - began > 35:
                raise AssertionError(f"{len(open_ones)} connections are open after 35 s")
            time.sleep(0.3)

    def wrong_digest(self):
        for name in ("wrong/digest", "wrong/digest-claimed"):
            client = self.client()
            body = b"d" * 10000
            headers = self.put_headers(body)
            if "claimed" in name:
                headers["X-Garner-Create"] = "claim"
            status, _, _ = client.request("PUT", self.target(name), headers, body[:-1] + b"D")
            if status != 400:
                raise AssertionError(f"{name}: answered {status}")
        body = b"r" * 10000
        client = self.client()
        status, _, _ = client.request("PUT", f"/v1/replica/{self.pool}/wrong/digest-replica", self.put_headers(body), body[:-1] + b"R")
        if status != 400:
            raise AssertionError(f"a replica answered {status}")
        client = self.client()
        headers = self.put_headers(body)
        headers["X-Garner-Digest"] = "0" * 63
        if client.request("PUT", self.target("wrong/digest-form"), headers, body)[0] != 400:
            raise AssertionError("a malformed digest is taken")

    def too_long(self):
        client = self.client()
        headers = self.put_headers(b"x")
        headers["Authorization"] = client.authorization("PUT", self.target("wrong/long"), headers, 10**12)
        s = self.raw()
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        s.sendall(f"PUT {self.target('wrong/long')} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {10**12}\r\n\r\n".encode())
        self.expect(self.answer(s)[0], [413])

    def without_tls(self):
        if self.cluster.tls:
            self.refused_connection(lambda: self.raw(tls=False))

    def without_certificate(self):
        if self.cluster.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.refused_connection(lambda: context.wrap_socket(self.raw(tls=False)))

    def strangers_certificate(self):
        if self.strangers and self.strangers.tls:
            context = self.strangers.tls
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.refused_connection(lambda: context.wrap_socket(self.raw(tls=False)))

    def run(self):
        ways = [self.rightful, self.wrong_key, self.unsigned, self.changed, self.replayed, self.expired, self.oversized_header, self.many_headers, self.long_line,
                self.malformed, self.half_a_body, self.slow_loris, self.wrong_digest, self.too_long, self.without_tls,
                self.without_certificate, self.strangers_certificate]
        bad = 0
        if self.first_source:
            network, first = self.first_source.rsplit(".", 1)
            self.sources = {way.__name__: f"{network}.{int(first) + i}" for i, way in enumerate(ways)}

        def under_its_name(way):
            threading.current_thread().name = way.__name__
            way()

        with concurrent.futures.ThreadPoolExecutor(len(ways)) as pool:
            for way, future in [(way, pool.submit(under_its_name, way)) for way in ways]:
                try:
                    future.result()
                    print(f"refused: {way.__name__}" if way != self.rightful else f"others: {self.counted} puts and reads")
                except Exception as e:  # pylint: disable=broad-except
                    print(f"FAILED {way.__name__}: {type(e).__name__} {e}")
                    bad += 1
        return bad


# ---- a node that lies ------------------------------------------------------------------------------------------------


class Liar(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster = map = pool = None
    session, began = os.urandom(16), time.monotonic()
    never = version(0x2000000000000000)
    seen, kept, lock = {}, {}, threading.Lock()

    def log_message(self, *_):
        pass

    def reply(self, status, headers, body=b"", length=None):
        nonce = bytes.fromhex(re.search(r"nonce=([0-9a-f]{32})", self.headers.get("Authorization", "nonce=" + "0" * 32)).group(1))
        length = len(body) if length is None else length
        headers = dict(headers)
        if body and "X-Garner-Digest" not in headers and "X-Garner-Body" not in headers:
            headers["X-Garner-Body"] = nc.digest_of(body)
        headers["X-Garner-Answer"] = "mac=" + nc.answer_mac(self.cluster.key, nonce, status, length, headers)
        self.send_response_only(status)
        for k, v in headers.items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(body)
            except (ConnectionError, ssl.SSLError):
                self.close_connection = True

    def challenge(self):
        auth = self.headers.get("Authorization", "")
        if f"session={self.session.hex()}" in auth:
            return False
        found = re.search(r"nonce=([0-9a-f]{32})", auth)
        if not found:
            self.reply(401, {})
            return True
        now = int((time.monotonic() - self.began) * 1000)
        mac = nc.challenge_mac(self.cluster.key, self.session, now, bytes.fromhex(found.group(1)))
        self.reply(401, {"X-Garner-Challenge": f"session={self.session.hex()},time={now},mac={mac}", "X-Garner-Reason": "session"})
        return True

    def count(self, what):
        with self.lock:
            self.seen[what] = self.seen.get(what, 0) + 1

    def replica(self, name, length):
        """As a replica: HEAD is right; the bytes are not those."""
        if self.command in ("PUT", "DELETE"):
            flags = "tombstone" if self.command == "DELETE" else "-"
            digest = self.headers.get("X-Garner-Digest") or "0" * 64
            self.kept[name] = f"{self.headers['X-Garner-Version']} {length} {digest} {flags}"
            self.reply(201, {"X-Garner-Vote": "1"})
        elif name not in self.kept:
            self.reply(404, {"X-Garner-Vote": "1", "X-Garner-Reason": "absent"})
        elif self.command == "HEAD":
            self.reply(200, {"X-Garner-Meta": self.kept[name], "X-Garner-Vote": "1"}, length=int(self.kept[name].split()[1]))
        else:
            self.wrong_bytes(name)

    def is_checked(self, size):
        """Parts of objects, and long reads of what never changes, are checked by who opens what is sealed in them."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if found and (int(found.group(1)) or int(found.group(2)) + 1 < size):
            return False
        return self.headers.get("X-Garner-Read") != "any" or size <= 262144

    def wrong_bytes(self, name):
        """With the digest of the right ones, or, the next time, with their own, which is not what was asked for."""
        meta = self.kept.get(name, f"{self.never} 23 {nc.digest_of(b'others')} -")
        kept_version, size, digest, _ = meta.split()
        if not self.is_checked(int(size)):
            self.reply(503, {"X-Garner-Reason": "quorum"})
            return
        body = b"L" * int(size)
        self.count("lied:" + self.path.split("/")[2])
        if self.seen["lied:" + self.path.split("/")[2]] % 2 and "replica" in self.path:
            digest = nc.digest_of(body)
        self.reply(200, {"X-Garner-Meta": f"{kept_version} {size} {digest} -", "X-Garner-Version": kept_version,
                         "X-Garner-Digest": digest, "X-Garner-Vote": "1"}, body)

    def compared(self, path):
        """With others: everything differs, and there is what was never put."""
        self.count("lied:" + path)
        if path == "digests":
            self.reply(200, {"X-Garner-Vote": "1"}, b"".join(b"%s 1\n" % os.urandom(16).hex().encode() for _ in range(256)))
        else:
            name = f"{self.pool}/wrong/lie"
            self.reply(200, {"X-Garner-Vote": "1", "X-Garner-More": "0"},
                       f"{name} {self.never} 23 {nc.digest_of(b'others')} -\n".encode())

    def any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.challenge():
            return
        part = self.path.split("?")[0].split("/", 3)[2:]
        if part[0] == "health":
            self.reply(200, {"X-Garner-Map": self.map, "X-Garner-Settled": self.map, "X-Garner-Vote": "1"}, b"ok\n")
        elif part[0] in ("digests", "bucket"):
            self.compared(part[0])
        elif part[0] == "replica":
            self.replica(part[1], len(body))
        elif part[0] == "object" and self.command == "GET":
            self.wrong_bytes(part[1])
        else:
            self.reply(503, {"X-Garner-Reason": "quorum"})

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = any


def lie(options, pool):
    Liar.cluster, Liar.map, Liar.pool = nc.Cluster(options["--cluster"]), options["--map"], pool
    host, port = options["--listen"].rsplit(":", 1)
    server = http.server.ThreadingHTTPServer((host, int(port)), Liar)
    if Liar.cluster.tls:
        directory = os.path.dirname(os.path.abspath(options["--cluster"]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(directory, "node.pem"))
        context.load_verify_locations(os.path.join(directory, "ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        time.sleep(0.5)
        print(" ".join(f"{k}={v}" for k, v in sorted(Liar.seen.items())) or "-", flush=True)


def main():
    words, options = sys.argv[2:], {}
    while words and words[0].startswith("--"):
        options[words[0]] = words[1]
        words = words[2:]
    if sys.argv[1:2] == ["attack"] and len(words) == 2:
        sys.exit(1 if Attack(options, words[0], words[1]).run() else 0)
    if sys.argv[1:2] == ["lie"] and len(words) == 1:
        lie(options, words[0])
    sys.exit(__doc__)


if __name__ == "__main__":
    main()
