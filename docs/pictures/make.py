"""Writes the pictures of docs/tour.md and docs/gemm.md as SVG files.

Usage: python3 docs/pictures/make.py [--check]. With --check it writes nothing, and fails if a file
differs from what it would write. It needs only the standard library, and always writes the same
bytes.

A picture has a background, so it is readable on any page. Its colours follow the reader's
preference for light or dark.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).parent

# Colours of classes, light and dark: fills a, b and c, the background, lines and text.
COLOURS = {
    "paper": ("#ffffff", "#161b22"),
    "a": ("#a5c8ff", "#1f5fa8"),
    "b": ("#a6dfa0", "#2b6e35"),
    "c": ("#ffd08a", "#8f5d12"),
    "none": ("#eceff2", "#2a313a"),
    "line": ("#6e7781", "#8b949e"),
    "ink": ("#1f2328", "#e6edf3"),
}

HEX = "0123456789abcdefghijklmnopqrstuv"


def style() -> list[str]:
    """Returns the style sheet: light, and dark if the reader prefers it."""

    def rules(theme: int) -> str:
        colour = {name: pair[theme] for name, pair in COLOURS.items()}
        fills = "".join(f".{name}{{fill:{colour[name]}}}" for name in ("paper", "a", "b", "c", "none"))
        lines = f".cell,.frame{{stroke:{colour['line']}}}.bold,.arrow{{stroke:{colour['ink']}}}"
        return fills + lines + f"text{{fill:{colour['ink']}}}"

    return [
        "<style>",
        "text{font:13px system-ui,sans-serif}.small{font-size:11px}.mid{text-anchor:middle}.end{text-anchor:end}",
        ".frame,.bold,.arrow{fill:none}.bold{stroke-width:2}.title{font-weight:600}",
        rules(0),
        f"@media (prefers-color-scheme:dark){{{rules(1)}}}",
        "</style>",
    ]


class Picture:
    """An SVG picture that is built line by line."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img">',
            f"<title>{title}</title>",
            *style(),
            f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
        ]

    def text(self, x: float, y: float, text: str, classes: str = "") -> None:
        """Adds a text, whose left end is at x unless a class says otherwise."""
        attribute = f' class="{classes}"' if classes else ""
        self.lines.append(f'<text x="{x:g}" y="{y:g}"{attribute}>{text}</text>')

    def cells(self, x: float, y: float, size: tuple[float, float], kinds: list[str], words: list[str] = ()) -> None:
        """Adds a row of cells of a size, with the class of each and perhaps a word in each."""
        width, height = size
        row = [
            f'<rect class="cell {kind}" x="{x + i * width:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'
            for i, kind in enumerate(kinds)
        ]
        labels = [
            f'<text class="small mid" x="{x + (i + 0.5) * width:g}" y="{y + height / 2 + 4:g}">{word}</text>'
            for i, word in enumerate(words)
            if word
        ]
        self.lines.append("".join(row + labels))

    def frame(self, x: float, y: float, width: float, height: float, kind: str = "bold") -> None:
        """Adds a rectangle without a fill."""
        self.lines.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>')

    def arrow(self, x: float, y: float, dx: float, dy: float) -> None:
        """Adds an arrow along an axis, from a point by some distance."""
        sx, sy = (dx > 0) - (dx < 0), (dy > 0) - (dy < 0)
        head = f"m{-5 * sx - 4 * sy:g} {-5 * sy - 4 * sx:g}l{5 * sx + 4 * sy:g} {5 * sy + 4 * sx:g}"
        head += f"l{-5 * sx + 4 * sy:g} {-5 * sy + 4 * sx:g}"
        self.lines.append(f'<path class="arrow" d="M{x:g} {y:g}l{dx:g} {dy:g}{head}"/>')

    def svg(self) -> str:
        """Returns the file."""
        return "\n".join([*self.lines, "</svg>", ""])


def batch() -> Picture:
    """Draws three texts as a padded rectangle and as a packed batch."""
    texts = [
        ("a", ["&lt;s&gt;", "that", "is", "a", "happy", "person", "&lt;/s&gt;"]),
        ("b", ["&lt;s&gt;", "good", "day", "&lt;/s&gt;"]),
        ("c", ["&lt;s&gt;", "it", "is", "cold", "&lt;/s&gt;"]),
    ]
    size, longest = (46, 24), max(len(words) for _, words in texts)
    picture = Picture(776, 230, "A padded batch and a packed batch")
    picture.text(20, 30, "padded [B, L]: 21 cells, 5 of them padding, and a mask", "title")
    for i, (kind, words) in enumerate(texts):
        padding = longest - len(words)
        cells = [kind] * len(words) + ["none"] * padding
        picture.cells(20, 42 + 24 * i, size, cells, words + ["pad"] * padding)
    picture.text(20, 158, "packed [T]: 16 cells, no padding, no mask", "title")
    kinds = [kind for kind, words in texts for _ in words]
    picture.cells(20, 170, size, kinds, [word for _, words in texts for word in words])
    bound = 0
    for length in [0] + [len(words) for _, words in texts]:
        bound += length
        picture.text(20 + 46 * bound, 214, str(bound), "small mid")
    picture.text(366, 76, "Attention reads the bounds, so that")
    picture.text(366, 94, "no text reads another.")
    picture.text(366, 112, "All other steps read rows.")
    return picture


def panel() -> Picture:
    """Draws how weights are cut into panels, and the order of a panel in memory."""
    rows, columns, width, size = 8, 3, 4, (26, 24)
    picture = Picture(776, 290, "Panels of packed weights")
    picture.text(20, 30, "W [N, K], row by row", "title")
    for k in range(columns):
        picture.text(83 + 26 * k, 50, f"k={k}", "small mid")
    for n in range(rows):
        kinds = ["a" if n < width else "b"] * columns
        picture.text(62, 73 + 24 * n, f"n={n}", "small end")
        picture.cells(70, 57 + 24 * n, size, kinds, [HEX[n * columns + k] for k in range(columns)])
    for p in range(rows // width):
        y = 57 + 24 * width * p
        picture.frame(70, y, 26 * columns, 24 * width)
        picture.text(158, y + 53, f"panel {p}")
        picture.arrow(208, y + 48, 34, 0)
        picture.text(260, y + 26, f"panel {p} in memory", "title")
        order = [(p * width + n, k) for k in range(columns) for n in range(width)]
        words = [HEX[n * columns + k] for n, k in order]
        picture.cells(260, y + 36, (36, 24), ["a" if p == 0 else "b"] * len(order), words)
        for k in range(columns):
            picture.frame(260 + 144 * k, y + 36, 144, 24)
            picture.text(332 + 144 * k, y + 76, f"k={k}", "small mid")
    note = "A tile reads the weights of one k with one load: they are neighbours. Real panels have 16 or 32 rows."
    picture.text(20, 276, note)
    return picture


def tile() -> Picture:
    """Draws the accumulators of a tile, and the runs of K that they sum."""
    rows, vectors, height = 12, 2, 16
    picture = Picture(776, 330, "The register tile and the runs of K")
    picture.text(20, 30, "one step of k (AVX-512)", "title")
    picture.text(150, 54, "W: 2 loads of 16 floats")
    picture.cells(150, 62, (120, 20), ["b"] * vectors, ["k, n = 0 … 15", "k, n = 16 … 31"])
    picture.text(20, 88, "x: 12 broadcasts")
    for m in range(rows):
        y = 96 + height * m
        picture.cells(60, y, (50, height), ["a"], [f"m = {m}"])
        picture.cells(150, y, (120, height), ["c"] * vectors, [f"acc[{m}][{c}]" for c in range(vectors)])
    picture.arrow(114, 192, 30, 0)
    picture.text(150, 310, "24 multiply-adds on registers, for 14 loads")
    picture.text(450, 30, "K = 384: three runs of 128 steps", "title")
    for run in range(3):
        picture.cells(450 + 100 * run, 42, (100, 24), ["b"], [f"k = {128 * run} … {128 * run + 127}"])
        picture.arrow(500 + 100 * run, 70, 0, 40)
        picture.cells(460 + 100 * run, 116, (80, 24), ["c"], ["accumulators"])
        picture.arrow(500 + 100 * run, 144, 0, 40)
        picture.text(508 + 100 * run, 168, "+=")
    picture.cells(450, 190, (300, 24), ["a"], ["y: bias, then the sum of each run"])
    for i, line in enumerate(
        ["A chain of 384 additions rounds 384 times.", "Chains of 128, and then 3 additions,", "lose fewer digits."]
    ):
        picture.text(450, 246 + 18 * i, line)
    return picture


def attention() -> Picture:
    """Draws the scores that blocks of queries compute if a layer has a window."""
    tokens, block, reach, cell = 15, 3, 2, 18
    picture = Picture(776, 360, "Attention by blocks of queries, with a window")
    picture.text(20, 30, "scores [L, L] of one head", "title")
    picture.text(225, 50, "keys j", "mid")
    picture.text(20, 76, "queries i")

    def keys_of(rows: range) -> range:
        return range(max(rows.start - reach, 0), min(rows.stop + reach, tokens))

    for i in range(tokens):
        rows = range(i // block * block, i // block * block + block)
        seen = keys_of(rows)
        kinds = ["b" if abs(i - j) <= reach else "c" if j in seen else "none" for j in range(tokens)]
        picture.cells(90, 60 + cell * i, (cell, cell), kinds)
    for first in range(0, tokens, block):
        seen = keys_of(range(first, first + block))
        picture.frame(90 + cell * seen.start, 60 + cell * first, cell * len(seen), cell * block)
    for i, (kind, text) in enumerate(
        [
            ("b", "in the window of the query: i − 2 ≤ j ≤ i + 2"),
            ("c", "computed with the block, hidden by the softmax"),
            ("none", "never computed"),
        ]
    ):
        picture.cells(390, 66 + 30 * i, (cell, cell), [kind])
        picture.text(416, 80 + 30 * i, text)
    for i, line in enumerate(
        [
            "Each frame is one block of 3 queries:",
            "1. scores = q kᵀ",
            "2. softmax of each row",
            "3. context = probabilities · v",
            "The scores of a block stay in the cache",
            "until its context is finished.",
        ]
    ):
        picture.text(390, 186 + 22 * i, line, "title" if i == 0 else "")
    return picture


def bias() -> Picture:
    """Draws the relative bias: a matrix that is constant along its diagonals, and its one vector."""
    tokens, size, query = 7, (34, 24), 5
    picture = Picture(776, 320, "The relative bias as a diagonal band")

    def kind(distance: int) -> str:
        return "c" if distance == 0 else "a" if distance < 0 else "b"

    def row(x: float, y: float, distances: range) -> None:
        """Adds cells that fade with the distance."""
        faded = [
            f'<rect class="{kind(d)}" fill-opacity="{1 - abs(d) * 0.13:.2f}" x="{x + size[0] * i:g}" y="{y:g}" '
            f'width="{size[0]}" height="{size[1]}"/>'
            for i, d in enumerate(distances)
        ]
        picture.lines.append("".join(faded))
        words = [str(d).replace("-", "−") for d in distances]
        labels = [
            f'<text class="small mid" x="{x + size[0] * (i + 0.5):g}" y="{y + 16:g}">{word}</text>'
            for i, word in enumerate(words)
        ]
        picture.lines.append("".join(labels))

    picture.text(20, 30, "bias[h][j − i] for all queries and keys", "title")
    for i in range(tokens):
        picture.text(92, 74 + 24 * i, f"query {i}", "small end")
        row(100, 58 + 24 * i, range(-i, tokens - i))
    picture.frame(100, 58 + 24 * query, size[0] * tokens, size[1])
    picture.text(20, 262, "what is stored: one vector of 2·M − 1 values for each head, here for M = 7", "title")
    row(100, 274, range(1 - tokens, tokens))
    start = tokens - 1 - query
    picture.frame(100 + size[0] * start, 274, size[0] * tokens, size[1])
    lines = [
        "A cell shows j − i, the distance of the key.",
        "Each diagonal has one value.",
        "So query i reads 7 neighbouring values,",
        "beginning at M − 1 − i.",
        "The frames show query 5: it begins at 1.",
    ]
    for i, line in enumerate(lines):
        picture.text(380, 90 + 22 * i, line)
    return picture


def main() -> None:
    """Writes or checks all pictures."""
    is_check = sys.argv[1:] == ["--check"]
    for draw in (batch, panel, tile, attention, bias):
        path, svg = FOLDER / f"{draw.__name__}.svg", draw().svg()
        if not is_check:
            path.write_text(svg, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != svg:
            sys.exit(f"{path}: differs from what {__file__} writes; run it without --check and commit the result")


if __name__ == "__main__":
    main()
