"""A product on its way back to nodes: what is chosen, and what is left to be chosen."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir import Node
from .exact import Number, quotient, whole
from .polynomial import Monomial, power, product


@dataclass(slots=True)
class Remainder:
    """What is left of a product while its operands are chosen."""

    monomial: Monomial
    scale: Number
    over: list[Node]
    under: list[Node]

    def take(self, monomial: Monomial, scale: Number) -> None:
        """Divide by what an operand stands for."""
        self.monomial = product(self.monomial, power(monomial, -1))
        self.scale = quotient(self.scale, scale)

    def use(self, node: Node, coefficient: Number, sign: int) -> None:
        """Take ``node``, ``coefficient`` times what it stands for; its inverse where sign is -1."""
        if sign == 1:
            self.over.append(node)
            self.scale = quotient(self.scale, coefficient)
        else:
            self.under.append(node)
            self.scale = whole(self.scale * coefficient)
