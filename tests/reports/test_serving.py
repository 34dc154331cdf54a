"""The report while a run goes on: served over loopback, followed by the page, ended by Ctrl-C."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from looked import episodes_of, metrics_row, write_run

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.trajectory import write_trajectories
from zerosearch.errors import ConfigError
from zerosearch.files.jsonl import append_jsonl
from zerosearch.reports.report import Report
from zerosearch.reports.serving import ReportServer


def add_step(run: Path, codec: Codec, step: int) -> None:
    played = episodes_of(codec, step)
    write_trajectories(run / "trajectories" / f"step-{step:06d}.jsonl.zst", played)
    append_jsonl(run / "metrics.jsonl", metrics_row(step, played, alarms=["entropy 0.010: all rollouts are alike"]))


@pytest.fixture
def server(byte_codec: Codec, tmp_path: Path) -> Iterator[ReportServer]:
    run = write_run(tmp_path / "r", byte_codec, 2)
    with ReportServer(Report([str(run)], lambda folder: byte_codec.decode)) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: ReportServer, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_page_follows_the_run(server: ReportServer, byte_codec: Codec, tmp_path: Path, opened: Any) -> None:
    shown = opened(server.address)
    page = shown.page
    page.wait_for_selector("#live.on", timeout=20_000)
    assert shown.count() == 48
    assert shown.filter(reward_from=0.1) < 48
    page.locator("#list .row").first.click()
    read = page.locator("#detail h3").inner_text()
    before = shown.count()
    add_step(tmp_path / "r", byte_codec, 2)
    page.locator("#runs", has_text="step 3").wait_for(timeout=20_000)
    page.locator("#count", has_text="of 72").wait_for(timeout=20_000)
    assert shown.count() > before  # the filter still holds
    assert page.locator("#filters [name=reward-from]").input_value() == "0.1"
    assert page.locator("#detail h3").inner_text() == read
    assert "all rollouts are alike" in page.locator("#alarms").inner_text()
    assert {address.rsplit("/", 1)[0] + "/" for address in shown.fetched if address != "data:,"} == {server.address}


def test_a_run_that_has_just_begun_is_followed_too(byte_codec: Codec, tmp_path: Path, opened: Any) -> None:
    run = write_run(tmp_path / "r", byte_codec, 1)
    (run / "metrics.jsonl").rename(run / "later")
    (run / "trajectories").rename(run / "episodes-later")
    with ReportServer(Report([str(run)], lambda folder: byte_codec.decode)) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        page = opened(made.address).page
        page.locator("#unmeasured", has_text="No step has ended yet.").wait_for(timeout=20_000)
        assert not page.locator("#bands").is_visible()  # of one run there is no band
        (run / "episodes-later").rename(run / "trajectories")
        (run / "later").rename(run / "metrics.jsonl")
        page.locator("#count", has_text="24 of 24").wait_for(timeout=20_000)
        page.locator("figure[data-chart=reward] canvas").wait_for(timeout=20_000)
        made.shutdown()
        thread.join()


def test_only_this_machine_and_only_the_report(server: ReportServer) -> None:
    assert ask(server, "/")[0] == 200
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/", Host="evil.example")[0] == 403
    assert ask(server, "/", Host=f"localhost:{server.server_address[1]}")[0] == 200
    for path in ("/../config.toml", "/config.toml", "/%2e%2e/manifest.json", "//etc/passwd"):
        assert ask(server, path)[0] == 404


def test_a_file_that_is_half_written_is_told_and_the_server_lives(server: ReportServer, tmp_path: Path) -> None:
    (tmp_path / "r" / "trajectories" / "step-000001.jsonl.zst").write_bytes(b"half")
    status, body = ask(server, "/episodes", **{"Accept-Encoding": "gzip"})
    import gzip

    assert status == 200
    assert "step-000001" in json.loads(gzip.decompress(body))["problems"][0]
    assert ask(server, "/state")[0] == 200


def test_a_port_that_is_taken_is_one_line(server: ReportServer) -> None:
    with pytest.raises(ConfigError, match="--port 0 takes a free one"):
        ReportServer(server.report, server.server_address[1])


def test_it_waits_for_a_run_that_has_not_begun_and_ctrl_c_ends_it(byte_codec: Codec, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zerosearch", "report", str(tmp_path / "r"), "--live"]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **streams, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"waiting for {tmp_path}/r: no such folder yet")
        write_run(tmp_path / "r", byte_codec, 1)
        address = next(line for line in process.stdout if line.startswith("http://127.0.0.1:")).split()[0]
        connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"), timeout=20)
        connection.request("GET", "/")
        assert b"data-live" in connection.getresponse().read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "ended" in out
    assert "Traceback" not in err
