"""Reading a page without a browser."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements, attributes and table rows of a page, as a browser would see them without scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.text, self._inside = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"} and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._inside):
            self.text.append(data)
            if self.rows and self.rows[-1] and "tr" in self._inside:
                self.rows[-1][-1] += data.strip()
