"""The page in a browser: complete without a script, sorted, themed, and fit for a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import html

from tests.report.folders import Report, fill, result

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_browser = pytest.mark.skipif(
    not BROWSER, reason="no chromium, chromium-browser or google-chrome on PATH"
)
VALUES = {
    ("llama-7b", "wanda"): 10.7,
    ("llama-7b", "wanda+dsnot"): 9.25,
    ("llama-7b", "magnitude"): 560.5,
    ("llama-13b", "wanda"): 8.7512,
    ("opt-13b", "magnitude"): 1.0625e6,
    ("opt-13b", "wanda"): 15.5,
}


@pytest.fixture
def page(tmp_path: Path, report: Callable[[Path], Report]) -> Path:
    layers = [
        {"layer": "l0", "expected_before": 2.0, "expected_after": 1.0, "relative_before": 0.2,
         "relative_after": 0.1},
    ]  # fmt: skip
    runs = [
        result(model, method, value, sweep="table1", reconstruction=layers, timing_s={"prune": 3.0})
        for (model, method), value in VALUES.items()
    ]
    return report(fill(tmp_path / "table1", *runs)).folder / "index.html"


def opened(page: Path, fragment: str = "", script: str = "") -> html.HtmlElement:
    """What a browser makes of the page, after `script` ran in a copy of it."""
    copy = page.with_name("copy.html")
    copy.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    folder = page.parent / "profile"
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        f"--user-data-dir={folder}", "--virtual-time-budget=1000", "--dump-dom",
        f"{copy.as_uri()}{fragment}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return html.document_fromstring(done.stdout)


def on_a_phone(page: Path, script: str) -> list[int]:
    """What `script` puts into `sizes`, in a frame of 390 pixels: a window has 500 at least."""
    told = f"{script} parent.postMessage(sizes, '*');"
    inner = page.with_name("inner.html")
    inner.write_text(page.read_text().replace("</body>", f"<script>{told}</script></body>"))
    frame = page.with_name("frame.html")
    frame.write_text(
        "<!doctype html><body><script>onmessage = event => "
        "{ document.documentElement.dataset.sizes = event.data; };</script>"
        "<iframe src='inner.html' style='width: 390px; height: 844px; border: 0'></iframe></body>"
    )
    return [int(size) for size in opened(frame).get("data-sizes").split(",")]


def column(document: html.HtmlElement, place: int) -> list[str]:
    cells = [row.xpath("./th|./td")[place] for row in document.xpath("//tbody/tr")]
    return [cell.text_content().split()[0].lstrip("↓↑") for cell in cells]


def test_every_number_is_there_without_a_script_and_without_a_network(page: Path) -> None:
    text = page.read_text()
    document = html.document_fromstring(text)
    titles = [float(found) for found in document.xpath("//td/span[contains(@class,'ours')]/@title")]
    assert sorted(titles) == sorted(VALUES.values())
    words = " ".join(document.xpath("//table")[0].text_content().split())
    for shown in ("9.25", "10.22", "−0.97", "1.06e6", "1.1e6", "not run"):
        assert shown in words
    assert "imgs/ppl_comparison_0.6_sparsity.png" in text
    addresses = document.xpath("//@src | //@href | //@*[name()='xlink:href']")
    beside = {str(address) for address in addresses if not address.startswith("#")}
    assert {"table.tex", "table.csv", "expected_errors.pdf", "time_memory.svg"} <= beside
    assert [name for name in beside if not page.with_name(str(name)).is_file()] == []
    assert re.findall(r"url\([^#]|@import|fetch\(", text) == []
    assert len(document.xpath("//figure")) == 3
    assert not page.with_name("perplexity_sparsity.png").exists()  # one sparsity is no curve


@needs_browser
def test_sorted_by_the_address_in_both_directions_words_last(page: Path) -> None:
    up = opened(page, "#sort=1")
    assert column(up, 1)[:3] == ["9.25", "10.70", "560.50"]
    assert set(column(up, 1)[3:]) == {"not"}
    assert up.xpath("//th[@aria-sort='ascending']/button")[0].text == "llama-7b"
    down = opened(page, "#table=1&sort=1&dir=descending")
    assert column(down, 1)[:4] == ["560.50", "10.70", "9.25", "not"]
    assert sorted(column(down, 9)) == sorted(column(up, 9))


@needs_browser
def test_a_click_sorts_and_the_third_gives_the_papers_order_back(page: Path) -> None:
    click = "document.querySelectorAll('thead button')[1].click();"
    note = "document.documentElement.dataset.hash = location.hash;"
    first = opened(page, script=click + note)
    assert column(first, 0)[:3] == ["Wanda", "Wanda", "Magnitude"]
    assert first.get("data-hash") == "#table=1&sort=1&dir=ascending"
    third = opened(page, script=click * 3)
    assert column(third, 0) == column(html.document_fromstring(page.read_text()), 0)
    assert third.xpath("//th[@aria-sort]") == []


@needs_browser
def test_dark_by_the_address_or_by_the_button(page: Path) -> None:
    probe = "const root_ = document.documentElement;"
    probe += "root_.dataset.paper = getComputedStyle(root_).backgroundColor;"
    click = "document.querySelector('.theme').click();"
    light, dark = opened(page, script=probe), opened(page, "#theme=dark", probe)
    assert sum(map(int, re.findall(r"\d+", light.get("data-paper")))) > 700
    assert sum(map(int, re.findall(r"\d+", dark.get("data-paper")))) < 100
    assert opened(page, script=click + probe).get("data-paper") == dark.get("data-paper")


@needs_browser
def test_on_a_phone_the_table_scrolls_in_its_box_and_the_page_does_not(page: Path) -> None:
    sizes = """
      const box = document.querySelector(".box");
      box.scrollLeft = 200;
      const label = box.querySelector("tbody th").getBoundingClientRect().left;
      const sizes = [innerWidth, root.scrollWidth, box.clientWidth, box.scrollWidth,
        Math.round(label - box.getBoundingClientRect().left)];
    """
    window, document, inside, whole, label = on_a_phone(page, sizes)
    assert window == 390
    assert document <= 390
    assert inside < 390 < whole
    assert label == 0  # the first column stays
