"""Generated pages name every flag, every variable that is read is listed, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import docs
import pytest

from octavo.cli.parser import _ELSEWHERE
from octavo.config import EngineConfig, ServerConfig, settings

ROOT = Path(__file__).parents[2]
READS = re.compile(r"""(?:environ\b[^\n]{0,30}|getenv\()["'](OCTAVO_\w+)""")
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "python").rglob("*.md")]


def test_every_flag_has_a_row():
    """Whether the pages in the tree are current is for tools/check to say."""
    page = docs.pages()["arguments.md"]
    missing = [name for config in (EngineConfig, ServerConfig) for name in settings(config) if f"`--{name.replace('_', '-')}`" not in page]
    assert missing == []
    assert "| `octavo_num_requests_running` | gauge |" in docs.pages()["metrics.md"]


def test_every_variable_that_is_read_is_listed():
    sources = [path for folder in ("python", "cpp") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".cc", ".h", ".cu")]
    read = {name for path in sources for name in READS.findall(path.read_text(errors="replace")) if "/tests/" not in str(path)}
    assert read - docs.ENVIRONMENT.keys() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not link.startswith("mailto:") and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", ["coming-from-vllm.md", "coming-from-llama-cpp.md", "troubleshooting.md", "serving.md", "security.md"])
def test_flags_that_pages_name_exist(page: str):
    """Of tables about other programs only the right column is ours."""
    ours = []
    for line in (ROOT / "docs" / page).read_text().splitlines():
        ours.append(line.strip("| ").rpartition(" | ")[2] if page.startswith("coming-from") and line.startswith("|") else line)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(ours)))
    known = {f"--{name.replace('_', '-')}" for config in (EngineConfig, ServerConfig) for name in settings(config)}
    known |= {f"--no-{name[2:]}" for name in known}
    others = {"--help", "--config", "--url", "--max-tokens", "--local-dir", "--jinja", "--mmproj"}
    assert named - known - others == set()


def test_suggestions_lead_to_flags_that_exist():
    known = {f"--{name.replace('_', '-')}" for config in (EngineConfig, ServerConfig) for name in settings(config)}
    assert {flag.replace("--no-", "--") for flag in _ELSEWHERE.values()} - known == {"--max-tokens", "--temperature"}
