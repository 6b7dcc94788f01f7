"""What tools/serve builds for the GPU of a machine."""

from __future__ import annotations

import subprocess

import gpu_kernels
import pytest


@pytest.mark.parametrize(
    ("answer", "expected"), [("9.0\n9.0\n", "90a-real"), ("8.9\n", "89-real"), ("12.0\n", "120-real"), ("", "80-virtual")]
)
def test_code_is_for_the_gpu_at_hand(monkeypatch: pytest.MonkeyPatch, answer: str, expected: str) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 0, stdout=answer))
    assert gpu_kernels.architecture() == expected


def test_a_machine_without_nvcc_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_kernels, "cuda_compiler", lambda: None)
    gpu_kernels.add_gpu_kernels()
    assert "install the CUDA toolkit 13" in capsys.readouterr().err
