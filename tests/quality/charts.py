"""Two charts as SVG, without a library."""
from collections import Counter
from html import escape

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
GREY = "#c8c8c8"


class Drawing:
    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def rect(self, x, y, width, height, fill):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}"'
                          f' height="{height:.1f}" fill="{fill}"/>')

    def line(self, x1, y1, x2, y2, stroke="#ddd"):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
                          f' stroke="{stroke}"/>')

    def text(self, x, y, s, anchor="start", size=12, weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
                          f' font-size="{size}" font-weight="{weight}">{escape(s)}</text>')

    def dot(self, x, y, fill):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{fill}"'
                          ' fill-opacity="0.8"/>')

    def save(self, path):
        with open(path, "w") as f:
            f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width}'
                    f' {self.height}" width="{self.width}" height="{self.height}"'
                    ' font-family="sans-serif" fill="#222">\n'
                    f'<rect width="{self.width}" height="{self.height}" fill="white"/>\n'
                    + "\n".join(self.parts) + "\n</svg>\n")


def legend(d, x, y, names, colours):
    for name, colour in zip(names, colours):
        d.rect(x, y - 9, 10, 10, colour)
        d.text(x + 14, y, name, size=11)
        x += 30 + 6.3 * len(name)


def bars(path, names, rows):
    """Horizontal bars from 0 to 1.  rows: (title, a value or None for each name)"""
    used = [i for i in range(len(names)) if any(v[i] is not None for _, v in rows)]
    left, right, thick, gap = 230, 50, 11, 14
    heights = [thick * sum(v[i] is not None for i in used) + gap for _, v in rows]
    d = Drawing(860, 60 + sum(heights))
    scale = d.width - left - right
    legend(d, 12, 22, [names[i] for i in used], [COLOURS[i % len(COLOURS)] for i in used])
    y = 42
    for tick in range(0, 11, 2):
        x = left + scale * tick / 10
        d.line(x, y - 4, x, d.height - 18)
        d.text(x, d.height - 4, f"{tick / 10:.1f}", "middle", 10)
    for (title, values), height in zip(rows, heights):
        d.text(left - 8, y + (height - gap) / 2 + 4, title, "end")
        for i in used:
            if values[i] is not None:
                d.rect(left, y, max(0, scale * values[i]), thick - 1.5, COLOURS[i % len(COLOURS)])
                d.text(left + max(0, scale * values[i]) + 4, y + 9, f"{values[i]:.2f}", size=9)
                y += thick
        y += gap
    d.save(path)


def scatter(path, titles, planes, labels):
    """One column for each plane (points (N, 2)), one row for each way to colour them:
    labels is {what: [label of each point]}.  The six most frequent labels have a colour."""
    side, margin = 400, 24
    d = Drawing(len(planes) * (side + margin) + margin, len(labels) * (side + 50) + 40)
    for column, title in enumerate(titles):
        d.text(margin + column * (side + margin) + side / 2, 24, title, "middle", 14, "bold")
    for row, (what, own) in enumerate(labels.items()):
        top = 40 + row * (side + 50)
        common = [k for k, _ in Counter(own).most_common(6)]
        colour = dict(zip(common, COLOURS))
        for column, points in enumerate(planes):
            x0 = margin + column * (side + margin)
            d.parts.append(f'<rect x="{x0}" y="{top}" width="{side}" height="{side}"'
                           ' fill="none" stroke="#bbb"/>')
            low, high = points.min(0), points.max(0)
            place = (points - low) / (high - low) * (side - 24) + 12
            for (x, y), k in sorted(zip(place.tolist(), own), key=lambda p: p[1] in colour):
                d.dot(x0 + x, top + y, colour.get(k, GREY))
        others = ["other"] if len(set(own)) > len(common) else []
        d.text(margin, top + side + 18, f"{what}:", size=11, weight="bold")
        legend(d, margin + 50, top + side + 18, common + others, COLOURS[:len(common)] + (GREY,))
    d.save(path)
