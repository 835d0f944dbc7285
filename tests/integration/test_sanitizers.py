"""The kernels under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_NATIVE = Path(__file__).resolve().parents[2] / "native"
_DRIVER = Path(__file__).with_name("kernel_driver.c")
_SANITIZERS = "address,undefined,float-cast-overflow,float-divide-by-zero"


@pytest.mark.slow
@pytest.mark.parametrize("optimisation", ["-O1", "-O3"])
def test_the_kernels_are_clean_under_sanitizers(tmp_path: Path, optimisation: str) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc")
    program = tmp_path / "kernel_driver"
    subprocess.run(
        [
            *(gcc, "-std=c11", "-g", optimisation, "-fno-math-errno", "-fno-trapping-math", "-fopenmp"),
            *(
                "-DWIDEST_VECTORS=",
                "-Wall",
                "-Wextra",
                "-Werror",
                f"-fsanitize={_SANITIZERS}",
                "-fno-sanitize-recover=all",
            ),
            *(f"-I{_NATIVE}", str(_DRIVER), str(_NATIVE / "project.c"), str(_NATIVE / "smooth.c")),
            *("-lm", "-o", str(program)),
        ],
        check=True,
    )
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
