"""Read a page as a browser does, and list what breaks the promises of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

ALLOWED_TAGS = {
    'html', 'head', 'meta', 'title', 'style', 'body', 'main', 'footer', 'nav', 'section', 'div',
    'span', 'h1', 'h2', 'h3', 'p', 'a', 'br', 'strong', 'sub', 'sup', 'ul', 'li', 'figure',
    'figcaption', 'img', 'input', 'label', 'table', 'caption', 'thead', 'tbody', 'tr', 'th', 'td',
    'code',
}  # fmt: skip
VOID = {'meta', 'br', 'img', 'input'}
PAYLOADS = [
    '<script>alert(1)</script>',
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    '<img src="https://example.org/x.png">',
    '<svg/onload=alert(1)>',
    '<iframe src="javascript:alert(1)"></iframe>',
    '</title><base href="https://example.org/">',
    '</style><link rel=stylesheet href=//example.org/x.css>',
    '<a href="javascript:alert(1)">x</a>',
    '{{ 7 * 7 }}{% include "page.css" %}',
    '<!--', '<details open ontoggle=alert(1)>',
]  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.comments: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Note an end tag that closes nothing."""
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        """Note text."""
        self.text.append(data)

    def handle_comment(self, data):
        """Note a comment: pages have none."""
        self.comments.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of each such tag."""
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self) -> str:
        """Text without markup, blanks collapsed."""
        return ' '.join(' '.join(self.text).split())


def faults(html: str, folder: Path) -> list[str]:
    """List what a page must not have; an empty list is a good page."""
    page, found = Page(html), []
    found += [f'tag {tag}' for tag, _ in page.tags if tag not in ALLOWED_TAGS]
    found += [f'unbalanced {tag}' for tag in page.unbalanced + page.open]
    found += [f'comment {text}' for text in page.comments]
    ids = [attrs['id'] for _, attrs in page.tags if 'id' in attrs]
    found += [f'id {name} twice' for name in set(ids) if ids.count(name) > 1]
    policies = [attrs['content'] for attrs in page.all('meta')
                if attrs.get('http-equiv') == 'Content-Security-Policy']  # fmt: skip
    if len(policies) != 1 or "default-src 'none'" not in policies[0]:
        found.append('no content security policy')
    for tag, attrs in page.tags:
        found += [f'{tag} {name}' for name in attrs if name.startswith('on') or name == 'style']
        if 'src' in attrs and not attrs['src'].startswith('data:image/png;base64,'):
            found.append(f'{tag} src {attrs["src"][:60]}')
        if tag == 'img' and not (attrs.get('alt') or '').strip():
            found.append('picture without alt text')
        if tag == 'a':
            target = attrs.get('href') or ''
            inside = target[1:] in ids if target.startswith('#') else (folder / target).is_file()
            if not inside or ':' in target or target.startswith('/') or '..' in target:
                found.append(f'link {target}')
        if tag == 'label' and attrs.get('for') not in ids:
            found.append(f'label for {attrs.get("for")}')
    return found
