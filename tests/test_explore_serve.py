"""The explorer at an address of this machine: what it answers, to whom, and how it ends."""

import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.request

import pytest

from diffode.explore.serving import HEADERS, address, server_of
from tests.processes import PATIENCE
from tests.runs import refused

PAGE = "<!doctype html><title>é</title>"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # past any proxy


@pytest.fixture
def server():
    with server_of(PAGE) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def answer(server, method="GET", path="/", host=None):
    connection = http.client.HTTPConnection(*server.server_address, timeout=PATIENCE)
    headers = {"Host": host or f"127.0.0.1:{server.server_port}"}
    connection.request(method, path, headers=headers)
    found = connection.getresponse()
    body = found.read()
    connection.close()
    return found, body


def test_the_page_comes_with_strict_headers(server):
    found, body = answer(server)
    assert found.status == 200 and body.decode() == PAGE
    for name, value in HEADERS.items():
        assert found.getheader(name) == value
    assert found.getheader("Content-Length") == str(len(PAGE.encode()))
    assert found.getheader("Server").strip() == "diffode"
    with DIRECT.open(address(server), timeout=PATIENCE) as response:
        assert response.read().decode() == PAGE
    head, nothing = answer(server, "HEAD")
    assert head.status == 200 and nothing == b""


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"path": "/etc/passwd"}, 404),
        ({"path": "/../../etc/passwd"}, 404),
        ({"path": "/?x=1"}, 404),
        ({"method": "POST"}, 501),
        ({"method": "PUT"}, 501),
        ({"host": "example.org"}, 403),
        ({"host": "127.0.0.1:1"}, 403),
    ],
)
def test_all_else_is_refused(server, given, status, capfd):
    found, body = answer(server, **given)
    assert found.status == status and PAGE.encode() not in body
    assert capfd.readouterr() == ("", "")


def test_a_browser_that_goes_away_is_no_error(capfd):
    with server_of(PAGE) as server:
        browser = socket.create_connection(server.server_address)
        browser.sendall(b"GET / HTTP/1.1\r\n")
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        browser.close()  # by a reset
        server.process_request_thread(*server.get_request())
    assert capfd.readouterr() == ("", "")


def test_it_listens_to_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.socket.family == socket.AF_INET


def test_a_port_that_is_taken_is_one_line(server, capsys):
    said = refused(capsys, "explore", "--serve", "--port", server.server_port)
    assert f"cannot serve at port {server.server_port}" in said and "--port" in said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--serve --out a.html", "got --serve and --out a.html"),
        ("--port 8000", "without --serve"),
        ("--serve --port 0", "greater than or equal to 1"),
    ],
)
def test_options_that_contradict(given, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, "explore", *given.split())
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="it sends a signal")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_ends_by_ctrl_c(number, code, tmp_path):
    command = [sys.executable, "-m", "diffode", "explore", "moons", "--serve"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        line = program.stdout.readline()
        place = line.split()[4]
        with DIRECT.open(place, timeout=PATIENCE) as response:
            assert b"<title>Explorer: moons</title>" in response.read()
        program.send_signal(number)
        said = program.communicate(timeout=PATIENCE)
    assert program.returncode == code and "Traceback" not in said[1]
    assert os.listdir(tmp_path) == []
