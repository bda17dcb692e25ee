"""What pyproject.toml cannot say: the wheel names the packages that it was tested with (PEP 770, CycloneDX)."""

import json
import re
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel

_PINNED = re.compile(r"^([\w.-]+)==([\w.]+)", re.MULTILINE)


class WithBillOfMaterials(bdist_wheel):
    # The one step that every way of building a wheel takes, with or without metadata prepared beforehand.
    def write_wheelfile(self, wheelfile_base: str, *given: str) -> None:
        super().write_wheelfile(wheelfile_base, *given)
        directory = Path(wheelfile_base) / "sboms"
        directory.mkdir()
        (directory / "holdfast.cdx.json").write_text(json.dumps(self._materials(), indent=1) + "\n")

    def _materials(self) -> dict[str, object]:
        """A CycloneDX document of every package that Holdfast needs at run time, directly or not."""
        pinned = Path("constraints.txt").read_text().partition("# --- for development only")[0]
        return {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": _component(self.distribution.get_name(), self.distribution.get_version())},
            "components": [_component(name, version) for name, version in _PINNED.findall(pinned)],
        }


def _component(name: str, version: str) -> dict[str, str]:
    name = re.sub(r"[-_.]+", "-", name).lower()
    return {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}


setup(cmdclass={"bdist_wheel": WithBillOfMaterials})
