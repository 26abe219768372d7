"""Requests by http.client and urllib. The argument is the URL of the balancer. Fails with a traceback."""

import http.client
import sys
import urllib.error
import urllib.request

from pattern import pattern


def keeps_one_connection(address):
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.connect()
    socket = connection.sock
    for path, length in [("/bytes/0", 0), ("/bytes/1000", 1000), ("/chunked/70000", 70000)] * 10:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, pattern(length)), path
    connection.request("HEAD", "/bytes/1000")
    answer = connection.getresponse()
    assert (answer.getheader("Content-Length"), answer.read()) == ("1000", b"")
    for status in (204, 304):
        connection.request("GET", f"/status/{status}")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, b"")
    assert connection.sock is socket, "the connection was closed"


def uploads_with_a_length_and_in_chunks(address):
    connection = http.client.HTTPConnection(address, timeout=10)
    body = pattern(300000)
    pieces = (body[at : at + 7000] for at in range(0, len(body), 7000))
    for given in (body, pieces):
        connection.request("POST", "/echo", body=given)
        answer = connection.getresponse()
        assert (answer.status, answer.read() == body) == (200, True)


def follows_redirects_and_reports_errors(url):
    with urllib.request.urlopen(url + "/redirect", timeout=10) as answer:
        assert (answer.url, answer.read()) == (url + "/bytes/10", pattern(10))
    with urllib.request.urlopen(url + "/echo", data=b"a=b", timeout=10) as answer:
        assert answer.read() == b"a=b"
    try:
        urllib.request.urlopen(url + "/status/404", timeout=10)
    except urllib.error.HTTPError as error:
        assert error.code == 404
    else:
        raise AssertionError("404 was no error")


def main():
    url = sys.argv[1]
    address = url.removeprefix("http://")
    keeps_one_connection(address)
    uploads_with_a_length_and_in_chunks(address)
    follows_redirects_and_reports_errors(url)


main()
