"""The kernel language: a small typed subset of Python, compiled to LLVM's assembly text.

A kernel is Python text that a reader can follow, and that is what runs: ``for`` over ``range``,
``if``, assignments, and scalar arithmetic on flat arrays. ::

    def kernel(x: ptr_f32, y: ptr_f32, N: index, thread: index, threads: index):
        for i in range(N * thread // threads, N * (thread + 1) // threads):
            y[i] = exp(x[i]) * 2.0

A local's type is that of its first value; a number takes the type of what it meets. ``//`` and
``%`` are meant for indices, which are not negative. ``s += v`` on a float may be added up in any
order, so that LLVM splits a sum over the lanes of a vector; nothing else is reordered. A function
with a result (``-> f32``) is inlined wherever it is called.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from .words import (
    FLOATS,
    INTRINSICS,
    LIBM,
    LLVM,
    PREDICATES,
    RANK,
    STORED,
    KernelError,
    Value,
    conversion,
    folded,
    number,
    opcode,
    parameter,
)


def translate(text: str, external: Mapping[str, tuple[str, ...]] | None = None) -> str:
    """LLVM assembly of all functions in ``text``; ``external`` maps names to parameter types."""
    module = _Module(external or {})
    functions = [f for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)]
    for function in functions:
        module.declare(function)
    bodies = [_Function(module, function).assembly() for function in functions]
    return "\n\n".join([*sorted(module.declarations), *bodies]) + "\n"


class _Module:
    def __init__(self, external: Mapping[str, tuple[str, ...]]) -> None:
        self.declarations: set[str] = set()
        self.signatures: dict[str, tuple[list[str], str]] = {}
        self.external = external

    def declare(self, function: ast.FunctionDef) -> None:
        types = [ast.unparse(a.annotation) for a in function.args.args if a.annotation]
        result = ast.unparse(function.returns) if function.returns else ""
        self.signatures[function.name] = types, result

    def need(self, declaration: str) -> None:
        self.declarations.add(declaration)


class _Function:
    """One function; locals live on the stack until LLVM lifts them into registers."""

    def __init__(self, module: _Module, function: ast.FunctionDef) -> None:
        self.module = module
        self.function = function
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.names: dict[str, tuple[str, str]] = {}  # name -> (stack slot or pointer, type)
        self.count = 0

    # --- frame -------------------------------------------------------------------------------

    def assembly(self) -> str:
        types, result = self.module.signatures[self.function.name]
        parameters = []
        for argument, kind in zip(self.function.args.args, types, strict=True):
            name = argument.arg
            if kind.startswith("ptr_"):
                parameters.append(f"ptr noalias %{name}")
                self.names[name] = f"%{name}", kind
            else:
                parameters.append(f"{LLVM[kind]} %{name}")
                self.names[name] = self.slot(kind), kind
                self.line(f"store {LLVM[kind]} %{name}, ptr {self.names[name][0]}")
        self.statements(self.function.body)
        linkage = "internal " if result else ""
        returned = LLVM[result] if result else "void"
        if not result:
            self.line("ret void")
        head = f"define {linkage}{returned} @{self.function.name}({', '.join(parameters)})"
        flags = " alwaysinline" if result else ""
        body = "\n  ".join(["entry:", *self.slots, *self.lines])
        return f"{head}{flags} {{\n  {body}\n}}"

    def line(self, text: str) -> None:
        self.lines.append(text)

    def fresh(self, hint: str = "v") -> str:
        self.count += 1
        return f"%{hint}.{self.count}"

    def slot(self, kind: str) -> str:
        name = self.fresh("slot")
        self.slots.append(f"{name} = alloca {LLVM[kind]}")
        return name

    def emit(self, text: str) -> str:
        name = self.fresh()
        self.line(f"{name} = {text}")
        return name

    def label(self, name: str) -> None:
        self.line(f"br label %{name}")
        self.lines.append(f"{name}:")

    # --- statements --------------------------------------------------------------------------

    def statements(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                self.assign(statement.targets[0], self.value(statement.value))
            elif isinstance(statement, ast.AugAssign):
                self.accumulate(statement)
            elif isinstance(statement, ast.For):
                self.loop(statement)
            elif isinstance(statement, ast.If):
                self.branch(statement)
            elif isinstance(statement, ast.Return) and statement.value is not None:
                kind = self.module.signatures[self.function.name][1]
                self.line(f"ret {LLVM[kind]} {self.as_type(self.value(statement.value), kind)}")
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                self.call(statement.value)
            elif not (
                isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            ):
                raise KernelError(f"statement {ast.unparse(statement)}")

    def assign(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Subscript):
            pointer, kind = self.element(target)
            self.store(pointer, kind, value)
            return
        if not isinstance(target, ast.Name):
            raise KernelError(f"assignment to {ast.unparse(target)}")
        if target.id not in self.names:
            kind = value[1] or ("f64" if isinstance(value[0], float) else "index")
            self.names[target.id] = self.slot(kind), kind
        place, kind = self.names[target.id]
        self.line(f"store {LLVM[kind]} {self.as_type(value, kind)}, ptr {place}")

    def accumulate(self, statement: ast.AugAssign) -> None:
        target = statement.target
        added = self.value(statement.value)
        old = self.value(target)
        if not isinstance(statement.op, ast.Add):
            raise KernelError(ast.unparse(statement))
        kind = old[1]
        given = self.as_type(added, kind)
        op = f"fadd reassoc nsz contract {LLVM[kind]}" if kind in FLOATS else f"add {LLVM[kind]}"
        self.assign(target, (self.emit(f"{op} {old[0]}, {given}"), kind))

    def loop(self, statement: ast.For) -> None:
        if not (
            isinstance(statement.target, ast.Name)
            and isinstance(statement.iter, ast.Call)
            and ast.unparse(statement.iter.func) == "range"
            and not statement.orelse
        ):
            raise KernelError(f"loop {ast.unparse(statement)}")
        bounds = [self.as_type(self.value(a), "index") for a in statement.iter.args]
        start, stop = bounds[:2] if len(bounds) > 1 else ["0", bounds[0]]
        step = bounds[2] if len(bounds) > 2 else "1"
        name = statement.target.id
        if name not in self.names:
            self.names[name] = self.slot("index"), "index"
        place = self.names[name][0]
        self.count += 1
        head, body, end = (f"{part}.{self.count}" for part in ("head", "body", "end"))
        self.line(f"store i64 {start}, ptr {place}")
        self.label(head)
        now = self.emit(f"load i64, ptr {place}")
        more = self.emit(f"icmp slt i64 {now}, {stop}")
        self.line(f"br i1 {more}, label %{body}, label %{end}")
        self.lines.append(f"{body}:")
        self.statements(statement.body)
        now = self.emit(f"load i64, ptr {place}")
        self.line(f"store i64 {self.emit(f'add nsw i64 {now}, {step}')}, ptr {place}")
        self.line(f"br label %{head}")
        self.lines.append(f"{end}:")

    def branch(self, statement: ast.If) -> None:
        test = self.as_type(self.value(statement.test), "bool")
        self.count += 1
        then, other, end = (f"{part}.{self.count}" for part in ("then", "else", "done"))
        self.line(f"br i1 {test}, label %{then}, label %{other}")
        for label, body in ((then, statement.body), (other, statement.orelse)):
            self.lines.append(f"{label}:")
            self.statements(body)
            self.line(f"br label %{end}")
        self.lines.append(f"{end}:")

    # --- memory ------------------------------------------------------------------------------

    def element(self, target: ast.Subscript) -> tuple[str, str]:
        found = isinstance(target.value, ast.Name) and self.names.get(target.value.id)
        if not found or not found[1].startswith("ptr_"):
            raise KernelError(f"{ast.unparse(target)} is no element of an array")
        pointer, kind = found[0], found[1].removeprefix("ptr_")
        index = self.as_type(self.value(target.slice), "index")
        stored = STORED.get(kind, LLVM[kind])
        return self.emit(f"getelementptr inbounds {stored}, ptr {pointer}, i64 {index}"), kind

    def store(self, pointer: str, kind: str, value: Value) -> None:
        text = self.as_type(value, kind)
        if kind == "bool":
            text = self.emit(f"zext i1 {text} to i8")
        self.line(f"store {STORED.get(kind, LLVM[kind])} {text}, ptr {pointer}")

    def load(self, pointer: str, kind: str) -> Value:
        text = self.emit(f"load {STORED.get(kind, LLVM[kind])}, ptr {pointer}")
        return (self.emit(f"icmp ne i8 {text}, 0") if kind == "bool" else text), kind

    # --- expressions -------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return number, ""
            case ast.Name(id=name):
                return self.name(name)
            case ast.Subscript():
                return self.load(*self.element(node))
            case ast.BinOp():
                return self.binary(node.op, self.value(node.left), self.value(node.right))
            case ast.UnaryOp():
                return self.unary(node)
            case ast.Compare():
                return self.compare(node)
            case ast.BoolOp():
                op = "and" if isinstance(node.op, ast.And) else "or"
                parts = [self.as_type(self.value(v), "bool") for v in node.values]
                text: str = parts[0]
                for part in parts[1:]:
                    text = self.emit(f"{op} i1 {text}, {part}")
                return text, "bool"
            case ast.IfExp():
                test = self.as_type(self.value(node.test), "bool")
                (a, b), kind = self.common(self.value(node.body), self.value(node.orelse))
                chosen = f"select i1 {test}, {LLVM[kind]} {a}, {LLVM[kind]} {b}"
                return self.emit(chosen), kind
            case ast.Call():
                return self.call(node)
        raise KernelError(f"expression {ast.unparse(node)}")

    def name(self, name: str) -> Value:
        if name in ("inf", "nan"):
            return float(name), ""
        if name not in self.names:
            raise KernelError(f"{name} has no value")
        place, kind = self.names[name]
        if kind.startswith("ptr_"):
            return place, kind
        return self.emit(f"load {LLVM[kind]}, ptr {place}"), kind

    def binary(self, op: ast.operator, x: Value, y: Value) -> Value:
        if not x[1] and not y[1]:
            return folded(op, x[0], y[0]), ""
        (a, b), kind = self.common(x, y)
        if isinstance(op, ast.Div) and kind not in FLOATS:
            raise KernelError("/ on ints")
        word = opcode(op, kind)
        return self.emit(f"{word} {LLVM[kind]} {a}, {b}"), kind

    def unary(self, node: ast.UnaryOp) -> Value:
        text, kind = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return self.emit(f"xor i1 {self.as_type((text, kind), 'bool')}, true"), "bool"
        if not isinstance(node.op, ast.USub):
            raise KernelError(ast.unparse(node))
        if not kind:
            assert not isinstance(text, str)
            return -text, ""
        if kind in FLOATS:
            return self.emit(f"fneg {LLVM[kind]} {text}"), kind
        return self.emit(f"sub {LLVM[kind]} 0, {text}"), kind

    def compare(self, node: ast.Compare) -> Value:
        if len(node.ops) > 1 or type(node.ops[0]) not in PREDICATES:
            raise KernelError(f"comparison {ast.unparse(node)}")
        (a, b), kind = self.common(self.value(node.left), self.value(node.comparators[0]))
        word = PREDICATES[type(node.ops[0])]
        if kind in FLOATS:
            predicate = "une" if word == "ne" else f"o{word}"
            return self.emit(f"fcmp {predicate} {LLVM[kind]} {a}, {b}"), "bool"
        sign = "" if word in ("eq", "ne") else "u" if kind in ("bool", "u32") else "s"
        return self.emit(f"icmp {sign}{word} {LLVM[kind]} {a}, {b}"), "bool"

    def call(self, node: ast.Call) -> Value:
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        values = [self.value(argument) for argument in node.args]
        if name == "at":  # a pointer further on
            pointer, kind = values[0]
            stored = STORED.get(kind[4:], LLVM[kind[4:]])
            place = self.as_type(values[1], "index")
            text = f"getelementptr inbounds {stored}, ptr {pointer}, i64 {place}"
            return self.emit(text), kind
        if name.startswith(("peek_", "poke_")):  # an element by its address
            kind = name[5:]
            address = self.as_type(values[0], "i64")
            place = self.emit(f"inttoptr i64 {address} to ptr")
            if name.startswith("peek_"):
                return self.load(place, kind)
            self.store(place, kind, values[1])
            return "", "void"
        if name in LLVM:
            return self.as_type(values[0], name), name
        if name.startswith("bits_"):  # the same bits as another type
            kind = name.removeprefix("bits_")
            bits, source = values[0]
            return self.emit(f"bitcast {LLVM[source]} {bits} to {LLVM[kind]}"), kind
        if name in self.module.external:
            kinds = self.module.external[name]
            self.module.need(f"declare void @{name}({', '.join(map(parameter, kinds))})")
            self.line(f"call void @{name}({self.arguments(values, kinds)})")
            return "", "void"
        if name in self.module.signatures:
            kinds_, result = self.module.signatures[name]
            text = f"call {LLVM[result]} @{name}({self.arguments(values, tuple(kinds_))})"
            return self.emit(text), result
        return self.function_of(name, values)

    def arguments(self, values: list[Value], kinds: tuple[str, ...]) -> str:
        parts = []
        for value, kind in zip(values, kinds, strict=True):
            text = str(value[0]) if kind.startswith("ptr") else self.as_type(value, kind)
            parts.append(f"{parameter(kind)} {text}")
        return ", ".join(parts)

    def function_of(self, name: str, values: list[Value]) -> Value:
        texts, kind = self.common(*values)
        special = f"{name}_{kind}"
        if special in self.module.signatures:
            return self.call_typed(special, texts, kind)
        if kind == "f16":  # half precision computes in single
            wide = self.function_of(name, [(self.as_type(v, "f32"), "f32") for v in values])
            return self.as_type(wide, "f16"), "f16"
        parameters = ", ".join([LLVM[kind]] * len(texts))
        arguments = ", ".join(f"{LLVM[kind]} {t}" for t in texts)
        if name in INTRINSICS:
            symbol = f"llvm.{INTRINSICS[name]}.{kind}"
        elif name in LIBM:
            symbol = name + ("f" if kind == "f32" else "")
        else:
            raise KernelError(f"no function {name} for {kind}")
        self.module.need(f"declare {LLVM[kind]} @{symbol}({parameters})")
        return self.emit(f"call {LLVM[kind]} @{symbol}({arguments})"), kind

    def call_typed(self, name: str, texts: tuple[str, ...], kind: str) -> Value:
        result = self.module.signatures[name][1]
        arguments = ", ".join(f"{LLVM[kind]} {t}" for t in texts)
        return self.emit(f"call {LLVM[result]} @{name}({arguments})"), result

    # --- types -------------------------------------------------------------------------------

    def common(self, *values: Value) -> tuple[tuple[str, ...], str]:
        kinds = [kind for _, kind in values if kind]
        if kinds:
            kind = max(kinds, key=RANK.__getitem__)
        else:
            kind = "f64" if any(isinstance(v, float) for v, _ in values) else "index"
        return tuple([self.as_type(v, kind) for v in values]), kind

    def as_type(self, value: Value, kind: str) -> str:
        text, have = value
        if not have:
            return number(text, kind)
        assert isinstance(text, str)
        if have == kind or LLVM[have] == LLVM[kind]:
            return text
        if kind == "bool":
            return self.truth(text, have)
        if "f16" in (have, kind) and "f32" not in (have, kind):  # the processor knows only that way
            return self.as_type((self.as_type(value, "f32"), "f32"), kind)
        return self.emit(f"{conversion(have, kind)} {LLVM[have]} {text} to {LLVM[kind]}")

    def truth(self, text: str, kind: str) -> str:
        if kind in FLOATS:
            return self.emit(f"fcmp une {LLVM[kind]} {text}, {number(0.0, kind)}")
        return self.emit(f"icmp ne {LLVM[kind]} {text}, 0")
