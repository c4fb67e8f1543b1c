from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildrop.mail.html import rewritten, rewritten_css


def shout(reference: str) -> str | None:
    """Stand for a finder that knows every file ending in .png."""
    return reference.upper() if reference.endswith(".png") else None


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<img src="a.png">', '<img src="A.PNG">'),
        ("<img src='a.png'>", "<img src='A.PNG'>"),
        ("<img src=a.png>", "<img src=A.PNG>"),
        ("<img src=a.png/>", "<img src=a.png/>"),  # the slash belongs to the value
        ("<IMG\n  SRC = \"a.png\"\talt=''>", "<IMG\n  SRC = \"A.PNG\"\talt=''>"),
        ("<img/src=a.png>", "<img/src=A.PNG>"),
        ('<img src=" a.png\n">', '<img src="A.PNG">'),
        ('<img src="a&amp;b.png">', '<img src="A&B.PNG">'),
        ('<img alt="src=a.png" src=b.png>', '<img alt="src=a.png" src=B.PNG>'),
        ('<img alt=">" src=b.png>', '<img alt=">" src=B.PNG>'),
        ('<img data-src="a.png" srcset="a.png">', '<img data-src="a.png" srcset="a.png">'),
        ("<img src>", "<img src>"),
        ("<img src=>a.png", "<img src=>a.png"),
        ('<img src="">', '<img src="">'),
        ('<td background="a.png" bgcolor=red>', '<td background="A.PNG" bgcolor=red>'),
        ('<video poster="a.png">', '<video poster="A.PNG">'),
        ('<a href="a.png">', '<a href="a.png">'),
        ('<p style="background:url(a.png)">', '<p style="background:url(A.PNG)">'),
        ("<p style=\"background:url('a.png')\">", "<p style=\"background:url('A.PNG')\">"),
        ('<p style="a:url(&#39;a.png&#39;);b:&quot;&lt;">', '<p style="a:url(&#39;A.PNG&#39;);b:&quot;&lt;">'),
        ('<p style="a:url(&quot;x&amp;y.png&quot; )">', '<p style="a:url(&quot;X&Y.PNG&quot; )">'),
        ('<p style="a:url(&quot;a.png)">', '<p style="a:url(&quot;a.png)">'),
        ('<p style="background:url(&quot;a.png&quot;)">', '<p style="background:url(&quot;A.PNG&quot;)">'),
        ("<p style='color:red'>", "<p style='color:red'>"),
        ("<style>p{background:url( 'a.png' )}</style>", "<style>p{background:url( 'A.PNG' )}</style>"),
        ("<STYLE type=text/css>url(a.png)</STYLE >a.png", "<STYLE type=text/css>url(A.PNG)</STYLE >a.png"),
        ("<style>url(a.png)", "<style>url(A.PNG)"),
        ("<style>url(a.png)</styles>url(b.png)", "<style>url(A.PNG)</styles>url(B.PNG)"),
        ("<p>src='a.png' url(a.png)</p>", "<p>src='a.png' url(a.png)</p>"),
        ('a < b <img src="a.png">', 'a < b <img src="A.PNG">'),
        ("</img src=a.png><br>", "</img src=a.png><br>"),
        ("<!-- <img src=a.png> --><img src=b.png>", "<!-- <img src=a.png> --><img src=B.PNG>"),
        ("<!--><img src=b.png>", "<!--><img src=B.PNG>"),
        ("<!-- <img src=a.png>", "<!-- <img src=a.png>"),
        ("<!--[if mso]><v:fill src=a.png /><![endif]-->", "<!--[if mso]><v:fill src=A.PNG /><![endif]-->"),
        ("<!--[if !mso]><!--><img src=a.png><!--<![endif]-->", "<!--[if !mso]><!--><img src=A.PNG><!--<![endif]-->"),
        (
            '<script>x = "<img src=a.png>"</script><img src=b.png>',
            '<script>x = "<img src=a.png>"</script><img src=B.PNG>',
        ),
        ("<textarea><img src=a.png></textarea>", "<textarea><img src=a.png></textarea>"),
        ('<img title="open src=a.png>', '<img title="open src=a.png>'),
        ("<", "<"),
        ("", ""),
    ],
)
def test_references_are_replaced_where_they_stand_and_nowhere_else(html: str, expected: str) -> None:
    """Only the value of a referring attribute or url() changes; text, comments and scripts are left alone."""
    assert rewritten(html, shout) == expected


def test_the_same_file_named_often_is_asked_for_each_time_in_order() -> None:
    """References are reported in the order of the text."""
    seen: list[str] = []
    rewritten("<i src=1><p style='a:url(2);b:url(\"3\")'><style>url(4)</style><b background=5>", seen.append)
    assert seen == ["1", "2", "3", "4", "5"]


def test_css_alone() -> None:
    """A style sheet is rewritten without regard to HTML."""
    css = "a{b:URL( \"a.png\" )} c{d:url(x y.png)} e{f:url(a.png} @import 'a.png';"
    assert rewritten_css(css, shout) == "a{b:URL( \"A.PNG\" )} c{d:url(x y.png)} e{f:url(a.png} @import 'a.png';"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*"<>\"'=/ -![]&", "<img ", "src", "style=", "url(", ")", "<!--", "-->", "<style>", "x"]))
)
def test_what_finds_nothing_changes_nothing(pieces: list[str]) -> None:
    """Whatever the text is, it stays as it is if no reference is replaced."""
    html = "".join(pieces)
    assert rewritten(html, lambda _reference: None) == html


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<a ",
        "<a b='",
        '<a b="',
        "<!--",
        "<!--[if",
        "<style>",
        "</style",
        "<style>url(",
        "url('",
        'url("',
        "=",
        "&",
    ],
)
@pytest.mark.parametrize("head", ["", "<style>", '<p style="', "<p style='x"])
def test_hostile_html_takes_linear_time(head: str, unit: str) -> None:
    """A megabyte of unclosed marks costs no more than a few times what it costs to look at each character."""
    hostile = head + unit * (1_000_000 // len(unit))
    started = time.process_time()
    rewritten(hostile, shout)
    assert time.process_time() - started < 5  # quadratic would be hours
