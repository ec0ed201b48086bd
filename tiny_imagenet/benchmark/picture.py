"""The figure of the benchmark: images/s by batch size, image size and number of worker processes."""

from collections.abc import Mapping

from matplotlib.figure import Figure


def rates_figure(curves: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """A panel for each quantity: curves[quantity] maps its values, in the order of the axis, to images/s."""
    figure = Figure(figsize=(4 * len(curves), 3.4), layout="constrained")
    for axis, (quantity, rates) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        axis.plot(list(rates), list(rates.values()), marker="o")
        axis.set(xlabel=quantity, ylabel="images/s", ylim=(0, None))
        axis.grid(color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure
