"""Escaping by default."""

from tempovla.report.markup import Markup, element, join


def test_text_and_attributes_are_escaped_and_markup_is_not():
    assert element("p", "<&>", Markup("<b>x</b>"), title='"') == '<p title="&quot;">&lt;&amp;&gt;<b>x</b></p>'
    assert join("<", element("br")) == "&lt;<br>"


def test_attributes_true_false_and_none():
    assert (
        element("video", muted=True, loop=False, src=None, stroke_width=2) == '<video muted stroke-width="2"></video>'
    )


def test_nothing_is_left_out_but_none():
    assert element("p", None, 0, class_="a") == '<p class="a">0</p>'
