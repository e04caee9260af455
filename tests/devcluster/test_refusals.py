"""What is in the way is said in words, and nothing is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools.devcluster import cluster, machine, mounts, running
from tools.devcluster.components import Component
from tools.devcluster.faults import CannotRunHere, ClusterFault
from tools.devcluster.layout import Layout


def devcluster(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LLMATRIX_DEVCLUSTER": str(folder)}
    command = [sys.executable, "-m", "tools.devcluster", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=60
    )


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CannotRunHere, match="needs root"):
        machine.check()


def test_a_system_that_is_not_linux_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(CannotRunHere, match="Linux only; this is darwin"):
        machine.check()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        component = Component("it", ("false",), (("127.0.0.1", port),), lambda: False)
        with pytest.raises(ClusterFault, match=rf"cannot listen at 127.0.0.1:{port}: .*ss"):
            running.start(Layout(tmp_path), [component])
    assert running.recorded(Layout(tmp_path)) == set()


def test_a_process_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    command = ("/bin/sh", "-c", "echo the flag is wrong; exit 1")
    component = Component("it", command, (), lambda: False)
    running.start(layout, [component])
    with pytest.raises(ClusterFault, match=r"it: ended (.|\n)*the flag is wrong"):
        running.await_ready(layout, [component])


def test_two_do_not_work_on_one_cluster(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cluster")
    with (
        cluster.alone(layout),
        pytest.raises(ClusterFault, match="another `devcluster`"),
        cluster.alone(layout, patience_s=0.1),
    ):
        pytest.fail("both work on it")


def test_without_a_cluster_verbs_say_so(tmp_path: Path) -> None:
    asked = devcluster(tmp_path / "none", "kubeconfig")
    assert asked.returncode == 1
    assert "there is no cluster" in asked.stderr
    asked = devcluster(tmp_path / "none", "status")
    assert asked.returncode == 1
    assert "there is no cluster" in asked.stdout
    assert devcluster(tmp_path / "none", "logs", "kubelet").returncode == 1
    assert devcluster(tmp_path / "none", "load", str(tmp_path / "no.tar")).returncode == 1


def test_what_cannot_be_added_is_said_and_nothing_is_started(tmp_path: Path) -> None:
    asked = devcluster(tmp_path / "none", "add", "gatway")
    assert asked.returncode == 2
    assert "nothing is called 'gatway'; there are gateway, llama, llm-d" in asked.stderr
    assert not (tmp_path / "none").exists()
    assert devcluster(tmp_path / "none", "add").returncode == 2
    asked = devcluster(tmp_path / "none", "parts")
    assert asked.returncode == 1
    assert "there is no cluster" in asked.stderr


def test_names_of_mounts_are_read_as_the_kernel_writes_them() -> None:
    assert mounts._plain(r"/a\040b\134c") == "/a b\\c"
