#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""User networking: DHCP, HTTP to a server on the host's loopback, a forwarded port, a taken port."""
import hashlib
import http.server
import os
import socket
import subprocess
import threading
import time

import harness
from harness import Reader, Test, check, equal

DATA = b"".join(hashlib.sha512(i.to_bytes(4, "big")).digest() for i in range(50000))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        reply = hashlib.sha256(body).hexdigest().encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


def http_to_the_host(test):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://10.0.2.2:{server.server_port}"
    result = test.boot(f"""
echo BEGIN
ip -4 addr show eth0 | grep -o 'inet [0-9.]*'
wget -q -O - {url}/data | sha256sum
seq 1 100000 >/tmp/up
wget -q -O - --post-file=/tmp/up {url}/up
sha256sum </tmp/up
echo END
""", "--net", "user")
    server.shutdown()
    address, down, up, local = result.between("BEGIN", "END")
    equal(address, "inet 10.0.2.15", "address from DHCP")
    equal(down, hashlib.sha256(DATA).hexdigest() + "  -", "sum of what was fetched")
    equal(up, local.split()[0], "sum of what was posted")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def forwarded_port(test):
    port = free_port()
    command = test.run_words(test.initrd_with("echo LISTENING\nnc -l -p 22 -e sha256sum\n"),
                             "--net", f"user,hostfwd=tcp:127.0.0.1:{port}-:22")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        Reader(process.stdout.fileno()).expect(b"LISTENING", test.options.limit)
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            s.settimeout(30)
            s.sendall(DATA[:200000])
            s.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := s.recv(4096):
                answer += chunk
        equal(answer.decode(), hashlib.sha256(DATA[:200000]).hexdigest() + "  -\n", "answer through the forwarded port")
        equal(process.wait(30), harness.POWERED_OFF, "status")
    except (OSError, subprocess.TimeoutExpired) as e:
        check(False, f"through the forwarded port: {e}")
    finally:
        process.kill()
        process.wait()


def taken_port(test):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        result = test.run(test.run_words(test.initrd, "--net", f"user,hostfwd=tcp:127.0.0.1:{port}-:22"))
    check(result.status == harness.BAD_USAGE, f"status {result.status}: {result.err}")
    check(str(port) in result.err and result.err.count("\n") == 1, f"stderr: {result.err!r}")


if __name__ == "__main__":
    Test().main(http_to_the_host, forwarded_port, taken_port)
