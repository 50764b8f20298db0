"""Images are pinned, and those of ours are built from what they need."""

import re
import tomllib

from compose_file import OFFICIAL, Service, dockerfile

from lakehouse.infra import CHECKOUT


def test_images_are_pinned(services: dict[str, Service]) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    for name, service in services.items():
        image, _, tag = service["image"].rpartition(":")
        assert re.fullmatch(r"\d+\.\d+\.\d+", tag), name
        if name not in OFFICIAL:
            assert image.startswith("lakehouse/")
            assert tag == project["version"], name
    for line in dockerfile().splitlines():
        if line.startswith("FROM") and ":" in line:
            assert re.fullmatch(r"FROM \S+:\d+\.\d+\.\d+\S* AS \S+", line), line


def test_every_image_of_ours_is_built_once_from_a_stage_that_exists(
    services: dict[str, Service],
) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile(), re.MULTILINE))
    built: list[str] = []
    for name, service in services.items():
        if "build" in service:
            target = service["build"]["target"]
            assert service["image"].startswith(f"lakehouse/{target}:"), name
            assert service["build"]["dockerfile"] == "infra/images/Dockerfile"
            built.append(target)
    assert set(built) <= stages
    used = {
        s["image"].split(":")[0].split("/")[1] for n, s in services.items() if n not in OFFICIAL
    }
    assert sorted(built) == sorted(used)


def test_what_fetching_imports_is_copied_into_the_stage_that_fetches() -> None:
    copied = re.findall(r"lakehouse/\w+\.py", dockerfile())
    folder = CHECKOUT / "lakehouse"
    needed: set[str] = set()
    waiting = [*(folder / "distributions").glob("*.py")]
    while waiting:
        imports = re.findall(
            r"^(?:from|import) (lakehouse(?:\.\w+)*)(?: import (\w+))?",
            waiting.pop().read_text(),
            re.MULTILINE,
        )
        for module, name in imports:
            for dotted in (module, f"{module}.{name}"):
                file = CHECKOUT / f"{dotted.replace('.', '/')}.py"
                if file.is_file() and file.parent == folder:
                    relative = str(file.relative_to(CHECKOUT))
                    if relative not in needed:
                        needed.add(relative)
                        waiting.append(file)
    assert sorted(copied) == sorted({*needed, "lakehouse/__init__.py"})
