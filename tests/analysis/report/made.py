"""A report taken apart: what each section's tables say, cell by cell."""

from html.parser import HTMLParser

Row = list[str]


class Sections(HTMLParser):
    """`tables[id]` are the tables of the section `id`, each a list of rows, each a list of the texts of its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[Row]]] = {}
        self.words: dict[str, str] = {}  # all text of a section
        self.attributes: set[str] = set()  # names of all attributes
        self.links: set[str] = set()  # where anything points to
        self._section = ""
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name.endswith("href")}
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
            self.tables[self._section], self.words[self._section] = [], ""
        elif tag == "table":
            self.tables[self._section].append([])
        elif tag == "tr":
            self.tables[self._section][-1].append([])
        elif tag in ("td", "th"):
            self.tables[self._section][-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False
            row = self.tables[self._section][-1][-1]
            row[-1] = " ".join(row[-1].split())
        elif tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._section:
            self.words[self._section] += data
            if self._in_cell:
                self.tables[self._section][-1][-1][-1] += data
