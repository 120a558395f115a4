#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-only
"""More than storage nodes can take: many clients put large objects at the same time, or read them and do not take what comes.

  node_flood.py put  --cluster FILE --map VERSION --clients N --seconds S --mib M ADDRESS,ADDRESS... POOL
  node_flood.py read --cluster FILE --map VERSION --clients N --seconds S NAME ADDRESS,ADDRESS... POOL      NAME: "any" or "latest"

Prints how often each status was answered: "201=12 503=345 lost=6".
"""
import collections
import http.client
import os
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import node_client as nc  # noqa: E402


class Flood:
    def __init__(self, options, addresses, pool):
        self.cluster, self.map, self.pool = nc.Cluster(options["--cluster"]), options["--map"], pool
        self.addresses, self.options = addresses.split(","), options
        self.until = time.monotonic() + float(options["--seconds"])
        self.counts, self.lock = collections.Counter(), threading.Lock()
        self.body = os.urandom(int(options.get("--mib", 1)) << 20)
        self.digest = nc.digest_of(self.body)

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def put(self, client, number, turn):
        version = f"{time.time_ns():016x}.{struct.unpack('<Q', os.urandom(8))[0]:016x}"
        status, _, _ = client.request("PUT", f"/v1/object/{self.pool}/flood/{number}.{turn % 3}", {
            "X-Garner-Map": self.map, "X-Garner-Version": version, "X-Garner-Digest": self.digest}, self.body)
        self.count(status)

    def read(self, client, number, _):
        """Asks for an object, and takes only the beginning of it."""
        target = f"/v1/object/{self.pool}/flood/{number % 4}.0"
        headers = {"X-Garner-Map": self.map, "X-Garner-Read": self.options["read"]}
        client.connection.connect()
        client.connection.sock.sendall(client.request_text("GET", target, headers))
        client.connection.sock.settimeout(max(1, self.until - time.monotonic()))
        got = client.connection.sock.recv(200)
        self.count(int(got.split(b" ", 2)[1]) if got else "lost")
        time.sleep(max(0, self.until - time.monotonic()) if b" 200 " in got[:20] else 0.05)

    def client(self, number):
        way, turn, client = getattr(self, self.options["way"]), 0, None
        while time.monotonic() < self.until:
            try:
                if not client:
                    client = nc.Client(self.cluster, self.addresses[number % len(self.addresses)], 30)
                    client.hello()
                way(client, number, turn)
            except (OSError, ValueError, http.client.HTTPException):
                self.count("lost")
                client = None
                time.sleep(0.05)
            turn += 1

    def run(self):
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(int(self.options["--clients"]))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        print(" ".join(f"{k}={v}" for k, v in sorted(self.counts.items(), key=str)))


def main():
    words, options = sys.argv[1:], {}
    if words[:1] not in (["put"], ["read"]):
        sys.exit(__doc__)
    options["way"], words = words[0], words[1:]
    while words and words[0].startswith("--"):
        options[words[0]] = words[1]
        words = words[2:]
    if options["way"] == "read":
        options["read"], words = words[0], words[1:]
    Flood(options, *words).run()


if __name__ == "__main__":
    main()
