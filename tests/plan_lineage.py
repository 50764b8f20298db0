"""What each column of a DataFrame is made of, read off its plan: an oracle for the contracts.

A column follows from the columns that its values are made of. What only decides, such as a
condition, an order, a group or a filter, is not among them, except of a column whose values are
constants: that follows from what decides which.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyspark.sql import DataFrame

Path = tuple[str, ...]
# A count of rows is made of no column.
ROWS = "*"
# Of an expression that has more than its value is made of, where the value is.
VALUE_OF = {
    "AggregateExpression": "aggregateFunction",
    "ArraySort": "argument",
    "MaxBy": "valueExpr",
    "MinBy": "valueExpr",
    "WindowExpression": "windowFunction",
}


def column_sources(made: DataFrame, of: Mapping[str, DataFrame]) -> dict[str, set[str]]:
    """Return what each column of a DataFrame follows from.

    Args:
        made: Of any transforms.
        of: What it is made of, by the name that its columns' names are to begin with.

    Returns:
        By column, names such as ``silver.trades.price``; of a structure, those of its fields.
    """
    leaves = {
        _id(attribute): f"{name}.{attribute.name()}"
        for name, frame in of.items()
        for attribute in _all(_analyzed(frame).output())
    }
    reading = _Reading(leaves, _analyzed(made))
    return {one.name(): reading.sources(one, ()) for one in _all(_analyzed(made).output())}


class _Reading:
    def __init__(self, leaves: Mapping[int, str], plan: Any) -> None:
        self._leaves = leaves
        self._made_of: dict[int, list[tuple[Any, Path]]] = defaultdict(list)
        self._asked: list[tuple[int, Path, bool]] = []
        self._note(plan)

    def sources(self, expression: Any, path: Path, decisive: bool = False) -> set[str]:
        """Return what a field of an expression follows from.

        Args:
            expression: Any.
            path: The names of the fields that lead to the one that is asked about.
            decisive: Whether what decides counts as well.
        """
        kind = _kind(expression)
        if kind in VALUE_OF:
            return self.sources(getattr(expression, VALUE_OF[kind])(), path, decisive)
        of_kind = {
            "AttributeReference": self._of_name,
            "NamedLambdaVariable": self._of_name,
            "GetStructField": self._of_field,
            "CreateNamedStruct": self._of_struct,
            "CaseWhen": self._of_choice,
            "If": self._of_choice,
            "Count": self._of_count,
            "ArrayAggregate": self._of_fold,
        }
        return of_kind.get(kind, self._of_children)(expression, path, decisive)

    def _of_children(self, expression: Any, path: Path, decisive: bool) -> set[str]:
        return self._of_all(_all(expression.children()), path, decisive)

    def _of_count(self, count: Any, path: Path, decisive: bool) -> set[str]:
        return self._of_children(count, path, decisive) or {ROWS}

    def _of_field(self, field: Any, path: Path, decisive: bool) -> set[str]:
        return self.sources(field.child(), (field.extractFieldName(), *path), decisive)

    def _of_struct(self, struct: Any, path: Path, decisive: bool) -> set[str]:
        fields = zip(_all(struct.names()), _all(struct.valExprs()), strict=True)
        meant = [value for name, value in fields if not path or str(name) == path[0]]
        return self._of_all(meant, path[1:], decisive)

    def _of_all(self, expressions: Iterable[Any], path: Path, decisive: bool) -> set[str]:
        return {name for one in expressions for name in self.sources(one, path, decisive)}

    def _of_name(self, attribute: Any, path: Path, decisive: bool) -> set[str]:
        number = _id(attribute)
        if number in self._leaves:
            return {".".join((self._leaves[number], *path))}
        asked = (number, path, decisive)
        if asked in self._asked:  # a fold's state, which is made of itself
            return set()
        self._asked.append(asked)
        found = {
            name
            for expression, within in self._made_of[number]
            # What is made of a whole event is not made of what makes the event readable.
            for name in self.sources(expression, (*within, *path), decisive and not within)
        }
        self._asked.remove(asked)
        return found

    def _of_choice(self, choice: Any, path: Path, decisive: bool) -> set[str]:
        if _kind(choice) == "If":
            deciding, values = [choice.predicate()], [choice.trueValue(), choice.falseValue()]
        else:
            branches = [*_all(choice.branches())]
            deciding = [branch._1() for branch in branches]
            values = [branch._2() for branch in branches]
            values += [choice.elseValue().get()] if choice.elseValue().isDefined() else []
        found = self._of_all(values, path, decisive)
        return found if found and not decisive else found | self._of_all(deciding, (), True)

    def _of_fold(self, fold: Any, path: Path, decisive: bool) -> set[str]:
        state, element = _all(fold.merge().arguments())
        (end,) = _all(fold.finish().arguments())
        self._made_of[_id(state)] = [(fold.zero(), ()), (fold.merge().function(), ())]
        self._made_of[_id(element)] = [(fold.argument(), ())]
        self._made_of[_id(end)] = [(fold.merge().function(), ())]
        return self.sources(fold.finish().function(), path, decisive)

    def _note(self, plan: Any) -> None:
        """Note what the names that a plan gives stand for."""
        for expression in _all(plan.expressions()):
            if _kind(expression) == "Alias":
                self._made_of[_id(expression)].append((expression.child(), ()))
        if _kind(plan) == "Generate":
            for attribute in _all(plan.generatorOutput()):
                self._made_of[_id(attribute)].append((plan.generator(), (attribute.name(),)))
        for child in _all(plan.children()):
            self._note(child)


def _analyzed(frame: DataFrame) -> Any:
    return frame._jdf.queryExecution().analyzed()


def _all(scala: Any) -> Iterator[Any]:
    return (scala.apply(number) for number in range(scala.size()))


def _kind(node: Any) -> str:
    return str(node.getClass().getSimpleName())


def _id(named: Any) -> int:
    return int(named.exprId().id())
