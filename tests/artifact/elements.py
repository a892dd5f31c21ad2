"""A page's elements, as a test asks for them."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """Every element of a page, with its attributes, and the text outside of code."""

    def __init__(self, text):
        super().__init__()
        self.all, self.open, self.prose = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))
        if tag in ("code", "pre", "style", "math"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        self.prose += data * (not self.open)

    def named(self, tag):
        return [attributes for name, attributes in self.all if name == tag]
