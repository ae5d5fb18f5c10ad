"""How full the memory is, from control groups as the kernel shows them."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jupyter_streaminfer.engine.memory import Memory, process_bytes

MIB = 2**20


def group(root: Path, cgroup: str, mountinfo: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text(mountinfo)


def v2(folder: Path, limit: str, usage: int, files: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(limit + "\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon {usage - files}\ninactive_file {files // 2}\nactive_file {files // 2}\n")


def v1(folder: Path, limit: int, usage: int, files: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"cache 0\ntotal_inactive_file {files}\ntotal_active_file 0\n")


V2_MOUNT = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def test_version_2(tmp_path: Path) -> None:
    group(tmp_path, "0::/user/app\n", V2_MOUNT)
    v2(tmp_path / "sys/fs/cgroup/user/app", str(100 * MIB), usage=60 * MIB)
    assert Memory(tmp_path).used() == pytest.approx(0.6)


def test_pages_of_files_are_as_good_as_free(tmp_path: Path) -> None:
    group(tmp_path, "0::/app\n", V2_MOUNT)
    v2(tmp_path / "sys/fs/cgroup/app", str(100 * MIB), usage=99 * MIB, files=80 * MIB)
    assert Memory(tmp_path).used() == pytest.approx(0.19)


def test_the_fullest_of_the_groups_that_we_are_in_counts(tmp_path: Path) -> None:
    group(tmp_path, "0::/pod/app\n", V2_MOUNT)
    v2(tmp_path / "sys/fs/cgroup/pod/app", "max", usage=60 * MIB)
    v2(tmp_path / "sys/fs/cgroup/pod", str(80 * MIB), usage=72 * MIB)
    v2(tmp_path / "sys/fs/cgroup", str(200 * MIB), usage=80 * MIB)
    v2(tmp_path / "sys/fs/cgroup/other", str(10 * MIB), usage=10 * MIB)
    assert Memory(tmp_path).used() == pytest.approx(0.9)


def test_a_container_that_sees_its_group_as_the_root(tmp_path: Path) -> None:
    group(tmp_path, "0::/../../kubepods/1\n", V2_MOUNT)
    v2(tmp_path / "sys/fs/cgroup", str(100 * MIB), usage=25 * MIB)
    v2(tmp_path / "sys/kubepods/1", str(100 * MIB), usage=99 * MIB)  # where the path would lead, taken as one
    assert Memory(tmp_path).used() == pytest.approx(0.25)


def test_a_mount_of_a_part_of_the_hierarchy(tmp_path: Path) -> None:
    mount = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    group(tmp_path, "4:memory:/docker/abc/inner\n", mount)
    v1(tmp_path / "sys/fs/cgroup/memory/inner", limit=100 * MIB, usage=30 * MIB)
    assert Memory(tmp_path).used() == pytest.approx(0.3)


def test_version_1(tmp_path: Path) -> None:
    group(tmp_path, "9:name=systemd:/\n4:memory:/docker/abc\n1:cpu:/\n0::/\n", V1_MOUNTS)
    v1(tmp_path / "sys/fs/cgroup/memory/docker/abc", limit=100 * MIB, usage=90 * MIB, files=40 * MIB)
    v1(tmp_path / "sys/fs/cgroup/memory", limit=2**63 - 4096, usage=10**9)
    assert Memory(tmp_path).used() == pytest.approx(0.5)


def test_the_limit_may_change_and_the_group_may_go(tmp_path: Path) -> None:
    group(tmp_path, "0::/app\n", V2_MOUNT)
    folder = tmp_path / "sys/fs/cgroup/app"
    v2(folder, str(100 * MIB), usage=10 * MIB)
    memory = Memory(tmp_path)
    assert memory.used() == pytest.approx(0.1)
    v2(folder, str(20 * MIB), usage=10 * MIB)
    assert memory.used() == pytest.approx(0.5)
    (folder / "memory.current").unlink()
    assert memory.used() == pytest.approx(machine_used(), abs=0.1)


@pytest.mark.parametrize("limit", ["max", str(2**60)])
def test_without_a_limit_it_is_the_machines(tmp_path: Path, limit: str) -> None:
    group(tmp_path, "0::/app\n", V2_MOUNT)
    v2(tmp_path / "sys/fs/cgroup/app", limit, usage=2**60)
    assert Memory(tmp_path).used() == pytest.approx(machine_used(), abs=0.1)


def test_without_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert Memory(tmp_path).used() == pytest.approx(machine_used(), abs=0.1)


def test_this_machine() -> None:
    assert 0 < Memory().used() < 1.5


def machine_used() -> float:
    machine = psutil.virtual_memory()
    return 1 - machine.available / machine.total


def test_processes_are_looked_at_and_those_that_are_gone_are_left_out() -> None:
    own = os.getpid()
    assert list(process_bytes([])) == list(process_bytes([own])) == [own]
    program = f"block = bytearray({64 * MIB}); print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        taken = process_bytes([child.pid])
        assert taken.keys() == {own, child.pid}
        assert taken[child.pid] > 60 * MIB
        child.communicate(b"\n")
    assert list(process_bytes([child.pid])) == [own]
