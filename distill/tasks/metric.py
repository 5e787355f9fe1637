"""The measure by which a task compares networks and epochs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """The measure by which a task compares networks and epochs.

    name: of its score; validation logs it as `val/NAME`. higher_is_better: its direction. words: what to call it.
    percent: whether it is a share, which is read in per cent, and its differences in points.
    """

    name: str
    higher_is_better: bool
    words: str
    percent: bool = True

    @property
    def logged(self) -> str:
        """As validation logs it."""
        return f"val/{self.name}"

    def shown(self, value: float) -> str:
        """A value as people read it."""
        return format(value, self.form[1:])

    @property
    def form(self) -> str:
        """How a value is written, as `str.format` takes it behind a name."""
        return ":.1%" if self.percent else ":.4g"

    def difference(self, gain: float) -> str:
        """A gain as people read it: '+2.2 points', or by how much the value is better."""
        return (
            f"{100 * gain:+.1f} points"
            if self.percent
            else f"{self.words} {'better' if gain >= 0 else 'worse'} by {abs(gain):.3g}"
        )

    def gain(self, value: float, other: float) -> float:
        """How much better a value is than another; negative where it is worse."""
        return value - other if self.higher_is_better else other - value
