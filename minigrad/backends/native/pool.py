"""One pool of threads for everything: kernels and matrix products walk the same list of steps.

A plan is a table of rows ``(function, arguments, flags)``. Every thread walks the whole table and
does its share of each row; a barrier stands where a row reads what another thread may have
written. Nothing here knows what a row computes, and no Python runs until the table is done.
Workers wait by spinning for a moment, then sleep on a condition variable. Where the caller and a
worker share a processor, because others are busy, they soon give way to each other instead.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from functools import cache
from typing import Any

import numpy as np

from .machine import Library

SERIAL, BARRIER = 1, 2  # flags of a row: only thread 0 runs it; wait for the others before it
ROW = 4  # words of a row: function, arguments, flags, unused
_WORDS = 128  # words of the pool's memory, each group on a cache line of its own

_ASSEMBLY = """
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @sched_yield()
declare i32 @sched_getcpu()

; On which processor the caller (word 112) and the worker that came last (word 113) were.
define internal i1 @together(ptr %pool, i64 %thread) {
  %caller = icmp eq i64 %thread, 0
  %word = select i1 %caller, i64 113, i64 112
  %p = getelementptr i64, ptr %pool, i64 %word
  %there = load atomic i64, ptr %p monotonic, align 8
  %cpu = call i32 @sched_getcpu()
  %here = zext i32 %cpu to i64
  %same = icmp eq i64 %here, %there
  ret i1 %same
}

define internal void @barrier(ptr %pool, i64 %thread, i64 %threads) {
entry:
  %count = getelementptr i64, ptr %pool, i64 16
  %phase = getelementptr i64, ptr %pool, i64 24
  %before = load atomic i64, ptr %phase seq_cst, align 8
  %place = atomicrmw add ptr %count, i64 1 seq_cst
  %arrived = add i64 %place, 1
  %last = icmp eq i64 %arrived, %threads
  br i1 %last, label %open, label %look
open:
  store atomic i64 0, ptr %count seq_cst, align 8
  %_ = atomicrmw add ptr %phase, i64 1 seq_cst
  ret void
look:
  %same = call i1 @together(ptr %pool, i64 %thread)
  %patience = select i1 %same, i64 100, i64 4000
  br label %wait
wait:
  %spins = phi i64 [0, %look], [%more, %again]
  %now = load atomic i64, ptr %phase acquire, align 8
  %done = icmp ne i64 %now, %before
  br i1 %done, label %end, label %relax
relax:
  PAUSE
  %long = icmp ugt i64 %spins, %patience
  br i1 %long, label %give, label %again
give:
  %y = call i32 @sched_yield()
  br label %again
again:
  %more = add i64 %spins, 1
  br label %wait
end:
  ret void
}

define internal void @walk(ptr %pool, ptr %rows, i64 %n, i64 %thread, i64 %threads) {
entry:
  %many = icmp sgt i64 %threads, 1
  %first = icmp eq i64 %thread, 0
  %word = select i1 %first, i64 112, i64 113
  %pcpu = getelementptr i64, ptr %pool, i64 %word
  %cpu = call i32 @sched_getcpu()
  %here = zext i32 %cpu to i64
  store atomic i64 %here, ptr %pcpu monotonic, align 8
  br label %head
head:
  %k = phi i64 [0, %entry], [%next, %after]
  %more = icmp slt i64 %k, %n
  br i1 %more, label %row, label %end
row:
  %offset = mul i64 %k, 4
  %p = getelementptr i64, ptr %rows, i64 %offset
  %function = load ptr, ptr %p
  %pa = getelementptr i64, ptr %p, i64 1
  %arguments = load ptr, ptr %pa
  %pf = getelementptr i64, ptr %p, i64 2
  %flags = load i64, ptr %pf
  %b = and i64 %flags, 2
  %wanted = icmp ne i64 %b, 0
  %sync = and i1 %wanted, %many
  br i1 %sync, label %meet, label %go
meet:
  call void @barrier(ptr %pool, i64 %thread, i64 %threads)
  br label %go
go:
  %s = and i64 %flags, 1
  %serial = icmp ne i64 %s, 0
  br i1 %serial, label %alone, label %share
alone:
  br i1 %first, label %call1, label %after
call1:
  call void %function(ptr %arguments, i64 0, i64 1)
  br label %after
share:
  call void %function(ptr %arguments, i64 %thread, i64 %threads)
  br label %after
after:
  %next = add i64 %k, 1
  br label %head
end:
  br i1 %many, label %close, label %out
close:
  call void @barrier(ptr %pool, i64 %thread, i64 %threads)
  br label %out
out:
  ret void
}

define void @run(ptr %pool, ptr %rows, i64 %n, i64 %threads) {
entry:
  %many = icmp sgt i64 %threads, 1
  br i1 %many, label %call, label %go
call:
  %prows = getelementptr i64, ptr %pool, i64 8
  store ptr %rows, ptr %prows
  %pn = getelementptr i64, ptr %pool, i64 9
  store i64 %n, ptr %pn
  %pt = getelementptr i64, ptr %pool, i64 10
  store i64 %threads, ptr %pt
  %_ = atomicrmw add ptr %pool, i64 1 seq_cst
  %psleep = getelementptr i64, ptr %pool, i64 32
  %asleep = load atomic i64, ptr %psleep seq_cst, align 8
  %any = icmp ne i64 %asleep, 0
  br i1 %any, label %wake, label %go
wake:
  %mutex = getelementptr i64, ptr %pool, i64 64
  %cond = getelementptr i64, ptr %pool, i64 96
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %c = call i32 @pthread_cond_broadcast(ptr %cond)
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %go
go:
  call void @walk(ptr %pool, ptr %rows, i64 %n, i64 0, i64 %threads)
  ret void
}

define void @work(ptr %pool, i64 %thread) {
entry:
  %mutex = getelementptr i64, ptr %pool, i64 64
  %cond = getelementptr i64, ptr %pool, i64 96
  %psleep = getelementptr i64, ptr %pool, i64 32
  %prows = getelementptr i64, ptr %pool, i64 8
  %pn = getelementptr i64, ptr %pool, i64 9
  %pt = getelementptr i64, ptr %pool, i64 10
  br label %idle
idle:
  %seen = phi i64 [0, %entry], [%new, %served]
  %same = call i1 @together(ptr %pool, i64 %thread)
  %patience = select i1 %same, i64 500, i64 6000
  br label %spin
spin:
  %spins = phi i64 [0, %idle], [%more, %next]
  %now = load atomic i64, ptr %pool seq_cst, align 8
  %fresh = icmp ne i64 %now, %seen
  br i1 %fresh, label %serve, label %relax
relax:
  PAUSE
  %enough = icmp ugt i64 %spins, 100
  %polite = and i1 %enough, %same
  br i1 %polite, label %give, label %next
give:
  %y = call i32 @sched_yield()
  br label %next
next:
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %more, %patience
  br i1 %long, label %sleep, label %spin
sleep:
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %_1 = atomicrmw add ptr %psleep, i64 1 seq_cst
  br label %check
check:
  %again = load atomic i64, ptr %pool seq_cst, align 8
  %woken = icmp ne i64 %again, %seen
  br i1 %woken, label %rise, label %rest
rest:
  %w = call i32 @pthread_cond_wait(ptr %cond, ptr %mutex)
  br label %check
rise:
  %_2 = atomicrmw sub ptr %psleep, i64 1 seq_cst
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %serve
serve:
  %new = load atomic i64, ptr %pool seq_cst, align 8
  %rows = load ptr, ptr %prows
  %n = load i64, ptr %pn
  %threads = load i64, ptr %pt
  %quit = icmp slt i64 %threads, 0
  br i1 %quit, label %end, label %member
member:
  %mine = icmp slt i64 %thread, %threads
  br i1 %mine, label %walk, label %served
walk:
  call void @walk(ptr %pool, ptr %rows, i64 %n, i64 %thread, i64 %threads)
  br label %served
served:
  br label %idle
end:
  ret void
}
"""

_PAUSES = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "AMD64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.hint(i32 1)",
    "arm64": "call void @llvm.aarch64.hint(i32 1)",
}


def cpu_count() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool:
    """Workers that walk tables; the caller is thread 0."""

    def __init__(self, threads: int, library: Library) -> None:
        self.threads = threads if _has("pthread_mutex_lock", "pthread_cond_wait") else 1
        self._library = library  # it holds the code
        self._memory = np.zeros(_WORDS + 8, np.int64)
        start = -self._memory.ctypes.data % 64 // 8
        self._pool = self._memory[start:].ctypes.data
        text = _ASSEMBLY.replace("PAUSE", _PAUSES.get(platform.machine(), ""))
        if not _has("sched_getcpu"):  # they give way as if they always shared a processor
            text = text.replace("declare i32 @sched_getcpu()\n", "")
            text = text.replace("call i32 @sched_getcpu()", "add i32 0, 0")
        if self.threads == 1:
            text = _without_threads(text)
        run = library.load(f"run {text}", lambda name: text.replace("@run(", f"@{name}("), {})
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)
        self._run = kind(run)
        self._lock = threading.Lock()  # one walk at a time
        self._staffed = self.threads > 1
        if self._staffed:
            os.register_at_fork(after_in_child=self._forget)
            key = f"work {text}"
            self._hire(library.load(key, lambda name: text.replace("@work(", f"@{name}("), {}))

    def run(self, rows: int, count: int, threads: int) -> None:
        """Walk ``count`` rows at address ``rows`` on ``threads`` threads."""
        with self._lock:
            self._run(self._pool, rows, count, threads if self._staffed else 1)

    def _forget(self) -> None:
        """A forked process has no workers, and perhaps a lock that nobody will open."""
        self._staffed = False
        self._lock = threading.Lock()

    def _hire(self, address: int) -> None:
        work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)
        memory, pool = self._memory, self._pool
        for number in range(1, self.threads):
            thread = threading.Thread(
                target=_work, args=(work, memory, pool, number), daemon=True, name="minigrad"
            )
            thread.start()


def _work(work: Any, memory: Any, pool: int, number: int) -> None:
    work(pool, number)  # never returns; `memory` stays alive with it


_POOLS: dict[int, Pool] = {}


def shared_pool(threads: int, library: Library) -> Pool:
    """The pool of this process for a number of threads; its code comes from the first library."""
    if threads not in _POOLS:
        _POOLS[threads] = Pool(threads, library)
    return _POOLS[threads]


@cache
def _has(*functions: str) -> bool:
    if os.name != "posix":
        return False
    process = ctypes.CDLL(None)
    return all(hasattr(process, name) for name in functions)


def _without_threads(text: str) -> str:
    return (
        text[text.index("define internal void @walk") : text.index("define void @work")]
        .replace("call void @barrier(ptr %pool, i64 %thread, i64 %threads)", "")
        .replace("call i32 @sched_getcpu()", "add i32 0, 0")
        .replace("call i32 @pthread_mutex_lock(ptr %mutex)", "add i32 0, 0")
        .replace("call i32 @pthread_cond_broadcast(ptr %cond)", "add i32 0, 0")
        .replace("call i32 @pthread_mutex_unlock(ptr %mutex)", "add i32 0, 0")
    )
