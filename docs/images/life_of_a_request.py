"""
Draw ``life-of-a-request.svg`` beside it: ``make diagram``. Plain SVG, with colours for light and for dark pages.

A column is an actor, and time goes down. A test compares the image with what this file draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

IMAGE = Path(__file__).with_name("life-of-a-request.svg")
WIDTH, HEIGHT = 920, 900
#: Middle of each column.
WORKER, LEDGER, TRIGGERER, SEGMIND = 140, 388, 592, 772
TOP, BOTTOM = 92, 814  # of the lines that go down

DESCRIPTION = (
    "A task submits once, records it in the ledger, is deferred while the triggerer polls, stores the output and "
    "returns the result; a next try continues from what the ledger has."
)
STYLE = """
  svg { font-family: system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; font-size: 14px;
    --page: #ffffff; --card: #f3f4f8; --line: #b7bcc9; --ink: #1c2130; --faint: #5b6377;
    --again: #6a3fe0; --again-card: #f0ebff; --money: #b26a00; --coin: #ffc83d; --good: #12753c; --good-card: #e3f6ea;
    --bad: #b3261e; --bad-card: #fdeceb; }
  @media (prefers-color-scheme: dark) { svg {
    --page: #12151c; --card: #1e2430; --line: #4a5366; --ink: #eef1f6; --faint: #a3adbf;
    --again: #b39dff; --again-card: #2a2343; --money: #ffc83d; --coin: #ffc83d; --good: #6fdc9a; --good-card: #17301f;
    --bad: #ff9d94; --bad-card: #3a1d1b; } }
  .page { fill: var(--page); stroke: var(--line); }
  .card { fill: var(--card); stroke: var(--line); }
  .good { fill: var(--good-card); stroke: var(--good); } .bad { fill: var(--bad-card); stroke: var(--bad); }
  .again { fill: var(--again-card); stroke: var(--again); }
  .life { stroke: var(--line); stroke-dasharray: 2 5; }
  .arrow { stroke: var(--ink); stroke-width: 1.5; fill: none; }
  .poll { stroke: var(--faint); stroke-width: 1.2; stroke-dasharray: 4 3; fill: none; }
  .turn { stroke: var(--again); stroke-width: 1.8; fill: none; }
  .hour { stroke: var(--faint); stroke-width: 1.5; fill: none; }
  .halo { stroke: var(--page); stroke-width: 5px; paint-order: stroke; stroke-linejoin: round; }
  text { fill: var(--ink); } .title { font-size: 21px; font-weight: 600; } .who { font-weight: 600; font-size: 15px; }
  .small { font-size: 12.5px; fill: var(--faint); } .next { font-size: 12.5px; fill: var(--again); }
  .paid { font-size: 12.5px; fill: var(--money); font-weight: 600; }
  .head { fill: var(--ink); } .head-poll { fill: var(--faint); } .head-turn { fill: var(--again); }
  .coin { fill: var(--coin); stroke: #8a5a00; } .coin-sign { fill: #5f3d00; font-weight: 700; font-size: 12px; }
"""


class Drawing:
    """Collect the parts of the image, in the order in which they are painted."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(self, x: float, y: float, label: str, kind: str = "", anchor: str = "middle") -> None:
        """Write a line; ``y`` is where its letters stand."""
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(label)}</text>')

    def box(self, middle: float, top: float, width: float, lines: list[str], kind: str = "card") -> None:
        """Draw a box with a line in ink and further ones below it, smaller."""
        height = 18 + 18 * len(lines)
        self.parts.append(
            f'<rect class="{kind}" x="{middle - width / 2:g}" y="{top:g}" width="{width:g}" height="{height}" rx="8"/>'
        )
        for number, label in enumerate(lines):
            self.text(middle, top + 23 + 18 * number, label, "small" if number else "")

    def line(self, points: Sequence[tuple[float, float]], kind: str = "arrow", head: str = "head") -> None:
        """Draw a line through points, with an arrow's head at its end unless ``head`` is empty."""
        path = " ".join(f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(points))
        marker = f' marker-end="url(#{head})"' if head else ""
        self.parts.append(f'<path class="{kind}" d="{path}"{marker}/>')

    def coin(self, x: float, y: float) -> None:
        """Mark where money is spent."""
        self.parts.append(f'<circle class="coin" cx="{x:g}" cy="{y:g}" r="9"/>')
        self.text(x, y + 4.3, "$", "coin-sign")

    def station(self, y: float, name: str, then: list[str]) -> None:
        """Draw what the ledger has from here on, and what a next try does with it."""
        self.box(LEDGER, y, 118, [name], "again")
        for number, label in enumerate(then):
            self.text(LEDGER, y + 54 + 16 * number, label, "next halo")


def draw() -> str:
    """Return the image as SVG."""
    drawing = Drawing()
    frame(drawing)
    submit(drawing)
    wait(drawing)
    deliver(drawing)
    legend(drawing)
    heads = "".join(
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path class="{name}" d="M0 0L10 5L0 10z"/></marker>'
        for name in ("head", "head-poll", "head-turn")
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d">',
            '<title id="t">The life of a request</title>',
            f'<desc id="d">{DESCRIPTION}</desc>',
            f"<style>{STYLE}</style><defs>{heads}</defs>",
            *drawing.parts,
            "</svg>\n",
        ]
    )


def frame(drawing: Drawing) -> None:
    """Draw the page, the columns and their names."""
    drawing.parts.append(f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="14"/>')
    drawing.text(28, 40, "The life of a request", "title", "start")
    for middle, who, what in (
        (WORKER, "Your task", "on a worker"),
        (LEDGER, "Ledger", "in Airflow's database"),
        (TRIGGERER, "Triggerer", "one for all waits"),
        (SEGMIND, "Segmind", ""),
    ):
        drawing.line([(middle, TOP + 12), (middle, BOTTOM)], "life", "")
        drawing.text(middle, 78, who, "who")
        drawing.text(middle, 95, what, "small halo")


def submit(drawing: Drawing) -> None:
    """Draw the part from the input to the request id."""
    drawing.box(WORKER, 108, 220, ["read and verify the image", "upload it, unless it is a URL"])
    drawing.line([(WORKER, 162), (WORKER, 266)])
    drawing.line([(WORKER, 200), (LEDGER - 59, 200)])
    drawing.station(182, "intended", ["dies here → the next try", "searches the history first"])
    drawing.text(235, 193, "before it is sent", "small halo")
    drawing.box(WORKER, 266, 220, ["submit", "never repeated blindly"])
    drawing.coin(WORKER + 110, 266)
    drawing.line([(WORKER + 110, 284), (SEGMIND - 60, 284)])
    drawing.text(LEDGER + 134, 277, "one POST", "small halo")
    drawing.box(SEGMIND, 266, 120, ["QUEUED"])
    drawing.line([(SEGMIND, 302), (SEGMIND, 312), (WORKER + 110, 312)], "poll", "head-poll")
    drawing.text(LEDGER + 134, 328, "request id", "small halo")
    drawing.line([(WORKER + 60, 320), (WORKER + 60, 348), (LEDGER - 59, 348)])
    drawing.station(334, "request id", ["dies here → the next try", "reattaches to the request"])


def wait(drawing: Drawing) -> None:
    """Draw the deferral, the polls and the two ends of a request."""
    drawing.line([(SEGMIND, 302), (SEGMIND, 340)])
    drawing.parts.append(f'<rect class="card" x="{SEGMIND - 60}" y="340" width="120" height="110" rx="8"/>')
    drawing.text(SEGMIND, 400, "PROCESSING")
    drawing.line([(WORKER, 320), (WORKER, 424)])
    drawing.line([(LEDGER - 59, 360), (LEDGER - 86, 360), (LEDGER - 86, 436), (WORKER + 110, 436)], "turn", "head-turn")
    drawing.box(WORKER, 424, 220, ["deferred", "no worker is held"])
    drawing.line([(WORKER + 110, 451), (TRIGGERER - 66, 451)])
    drawing.box(TRIGGERER, 424, 132, ["polls", "when it is useful;", "GETs are free"])
    for y in (434, 444):
        drawing.line([(TRIGGERER + 66, y), (SEGMIND - 60, y)], "poll", "head-poll")
    drawing.line([(SEGMIND, 450), (SEGMIND, 482)])
    drawing.box(SEGMIND, 482, 120, ["COMPLETED"], "good")
    drawing.coin(SEGMIND + 60, 482)
    drawing.line([(TRIGGERER + 66, 488), (SEGMIND - 60, 494)], "poll", "head-poll")
    drawing.line([(SEGMIND + 60, 400), (SEGMIND + 76, 400), (SEGMIND + 76, 567), (SEGMIND + 60, 567)])
    drawing.box(SEGMIND, 540, 120, ["FAILED", "not charged"], "bad")
    drawing.text(SEGMIND - 86, 563, "the task fails with the reason", "small halo", "end")
    drawing.text(SEGMIND - 86, 579, "and the next step", "small halo", "end")
    drawing.line([(TRIGGERER - 30, 496), (TRIGGERER - 30, 528), (WORKER, 528), (WORKER, 614)])
    drawing.text(WORKER + 122, 521, "event", "small halo", "start")


def deliver(drawing: Drawing) -> None:
    """Draw the part from the output to the XCom."""
    drawing.box(WORKER, 614, 220, ["download and verify", "the output, without the key"])
    fetched = [(SEGMIND - 60, 512), (SEGMIND - 76, 512), (SEGMIND - 76, 652), (WORKER + 110, 652)]
    drawing.line(fetched, "poll", "head-poll")
    drawing.text(TRIGGERER - 20, 645, "output", "small halo")
    drawing.line([(WORKER, 562), (LEDGER - 59, 562)])
    drawing.station(548, "result", ["dies here → the next try", "stores it without a poll"])
    drawing.line([(WORKER, 668), (WORKER, 692)])
    drawing.line([(LEDGER - 59, 574), (LEDGER - 90, 574), (LEDGER - 90, 630), (WORKER + 110, 630)], "turn", "head-turn")
    drawing.box(WORKER, 692, 220, ["store it in your bucket", "a whole object, or none"])
    drawing.line([(WORKER, 746), (WORKER, 770)])
    drawing.box(WORKER, 770, 220, ["XCom: a small JSON"])
    drawing.line([(WORKER + 110, 788), (LEDGER - 59, 788)])
    drawing.station(770, "delivered", [])
    drawing.text(LEDGER + 70, 784, "the next try returns the same;", "next halo", "start")
    drawing.text(LEDGER + 70, 800, "after a success, a clear submits", "next halo", "start")
    hour = SEGMIND + 120
    drawing.line([(hour - 8, 284), (hour, 284), (hour, 690), (hour - 8, 690)], "hour", "")
    drawing.parts.append(
        f'<text class="small" transform="translate({hour - 19} 487) rotate(90)" text-anchor="middle">'
        "Segmind keeps the record for one hour</text>"
    )
    drawing.text(hour, 708, "after the hour the ledger or the", "small halo", "end")
    drawing.text(hour, 724, "request history has the output", "small halo", "end")


def legend(drawing: Drawing) -> None:
    """Draw the legend."""
    drawing.line([(28, 838), (WIDTH - 28, 838)], "life", "")
    drawing.coin(40, 868)
    drawing.text(56, 873, "where money is spent: billed once, on completion", "paid", "start")
    drawing.parts.append('<rect class="again" x="490" y="858" width="20" height="20" rx="5"/>')
    drawing.text(518, 873, "where a retry, a clear or a killed process continues", "next", "start")


if __name__ == "__main__":
    IMAGE.write_text(draw(), encoding="utf-8")
