"""Figures 4 and 5: which image stands where, and what the panels are called."""

import numpy as np

from aevb import galleries


def test_figure4_tiles_in_reading_order_frey_first():
    mnist = np.random.default_rng(0).random((20, 20, 28, 28))
    frey = np.random.default_rng(1).random((10, 10, 28, 20))
    left, right = galleries.figure4({"mnist": mnist, "frey": frey}).axes
    assert left.get_xlabel() == "(a) Learned Frey Face manifold"
    assert right.get_xlabel() == "(b) Learned MNIST manifold"
    assert (left.images[0].cmap.name, right.images[0].cmap.name) == ("gray", "gray_r")
    tiled = np.asarray(right.images[0].get_array())
    assert tiled.shape == (560, 560)
    np.testing.assert_array_equal(tiled[28:56, 3 * 28 : 4 * 28], mnist[1, 3])
    assert right.images[0].get_clim() == (0, 1)


def test_figure5_has_the_papers_panels():
    images = {("mnist", n): np.random.default_rng(n).random((100, 8, 8)) for n in (20, 2, 10, 5)}
    axes = galleries.figure5(images).axes
    assert [a.get_xlabel() for a in axes] == [
        f"({c}) {n}-D latent space" for c, n in zip("abcd", (2, 5, 10, 20), strict=True)
    ]
    np.testing.assert_array_equal(
        np.asarray(axes[1].images[0].get_array())[8:16, 16:24], images["mnist", 5][12]
    )


def test_figure5_has_a_caption_for_every_panel():
    axes = galleries.figure5({("digits", n): np.zeros((100, 2, 2)) for n in range(2, 30)}).axes
    assert axes[25].get_xlabel().startswith("(z)")
    assert axes[26].get_xlabel().startswith("(27)")


def test_figure5s_panels_lie_further_apart_than_their_digits():
    """They have no frames, so that only the gap says where one ends."""
    figure = galleries.figure5({("mnist", n): np.zeros((100, 28, 28)) for n in (2, 5, 10, 20)})
    figure.draw_without_rendering()
    left, right = (axes.get_position() for axes in figure.axes[:2])
    digit = left.width / 10
    assert right.x0 - left.x1 > digit


def test_a_diverged_run_is_said_to_have_no_picture():
    sound = np.zeros((100, 8, 8))
    lost = np.full((100, 8, 8), np.nan)
    axes = galleries.figure5({("mnist", 2): sound, ("mnist", 5): lost}).axes
    assert [[text.get_text() for text in panel.texts] for panel in axes] == [[], ["diverged"]]
    [panel] = galleries.figure4({"frey": np.full((10, 10, 28, 20), np.nan)}).axes
    assert [text.get_text() for text in panel.texts] == ["diverged"]
