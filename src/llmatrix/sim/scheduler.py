"""The engine of one replica: continuous batching as a state machine that is stepped by a clock.

It follows vLLM's V1 scheduler: sequences that run are served first, in order of admission, each
with as many of its uncomputed tokens as the step's token budget allows (one when it decodes, a
chunk of its prompt when it prefills); then waiting sequences are admitted while budget, batch size
and memory last. When a running sequence needs a block and none is left, the latest admitted one
is preempted: its blocks are released and it is computed again later.

Nothing here waits or knows the time: ``schedule`` begins a step and says how long it takes,
``finish`` ends it and says which sequences got a token.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from llmatrix.sim import tokens
from llmatrix.sim.blocks import BlockPool
from llmatrix.sim.latency import Load, StepTime


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a batch, as vLLM names it."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    block_size: int = 16
    enable_prefix_caching: bool = True


class State(Enum):
    """Where a sequence is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"


@dataclass(slots=True, eq=False)
class Sequence:
    """One prompt and the answer that grows behind it.

    Attributes:
        prompt: token ids.
        max_tokens: length of the answer.
        first_word: which answer it is (see ``tokens.first_word``).
        arrival: seconds on the engine's clock.
        salt: prompts with different salts share no blocks.
        computed: tokens whose keys and values are in its blocks.
        generated: tokens of the answer so far.
        transferred: tokens of the prompt whose entries another replica has computed; they need no
            computing here, unless the sequence is preempted.
        cached: prompt tokens found in the prefix cache at first admission; None before it.
        first_token_at, last_token_at: end of the steps that gave those tokens.
    """

    prompt: array[int]
    max_tokens: int
    first_word: int
    arrival: float
    salt: int = 0
    transferred: int = 0
    state: State = State.WAITING
    computed: int = 0
    generated: int = 0
    cached: int | None = None
    preemptions: int = 0
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    blocks: list[int] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return len(self.prompt) + self.generated


@dataclass(frozen=True, slots=True)
class Step:
    """One step: how long it takes, and how many tokens of each sequence it computes."""

    seconds: float
    load: Load
    work: list[tuple[Sequence, int]]


@dataclass(slots=True)
class Counters:
    """What an engine has done since it started."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0
    finished: int = 0
    aborted: int = 0


class Engine:
    """The sequences and the KV cache of one replica."""

    def __init__(self, limits: Limits, step_time: StepTime, kv_tokens: int) -> None:
        self.limits = limits
        self.step_time = step_time
        self.pool = BlockPool(kv_tokens // limits.block_size)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.counters = Counters()

    @property
    def capacity(self) -> int:
        """Tokens of the longest sequence that fits at all."""
        return self.pool.total * self.limits.block_size

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; it must not be longer than ``capacity`` when its answer is whole."""
        if self.limits.enable_prefix_caching:
            self._extend_hashes(sequence)
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Take a sequence out, whatever it is doing; its blocks are free at once."""
        if sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        elif sequence.state is State.RUNNING:
            self.running.remove(sequence)
            self._release(sequence)
        else:
            return
        sequence.state = State.ABORTED
        self.counters.aborted += 1

    def schedule(self, now: float) -> Step | None:
        """Begin a step at ``now``; None when there is nothing to do.

        Sequences that arrived after ``now`` are not seen, so that a step which is begun late by
        the clock on the wall holds what it would have held in time.
        """
        work: list[tuple[Sequence, int]] = []
        budget, preempted = self._continue_running(work)
        if not preempted:
            self._admit(work, budget, now)
        if not work:
            return None
        load = _load(work)
        return Step(self.step_time(load), load, work)

    def finish(self, step: Step, at: float) -> list[Sequence]:
        """End a step; give the sequences that got a token, in order of admission."""
        told = []
        counters = self.counters
        ended = False
        for sequence, count in step.work:
            if sequence.state is not State.RUNNING:
                continue
            sequence.computed += count
            if sequence.computed < sequence.length:
                continue
            if sequence.generated == 0:
                sequence.first_token_at = at
                counters.prompt_tokens += len(sequence.prompt)
            sequence.generated += 1
            told.append(sequence)
            if sequence.generated == sequence.max_tokens:
                sequence.state = State.FINISHED
                self._release(sequence)
                counters.finished += 1
                ended = True
        counters.generated_tokens += len(told)
        if ended:
            self.running = [s for s in self.running if s.state is State.RUNNING]
        return told

    def cached(self, sequence: Sequence) -> int:
        """Count the tokens of a sequence, not yet added, that the prefix cache has now."""
        if not self.limits.enable_prefix_caching:
            return 0
        self._extend_hashes(sequence)
        size = self.limits.block_size
        return len(self.pool.match(sequence.hashes, (sequence.length - 1) // size)) * size

    def forget_prefixes(self) -> bool:
        """Drop the prefix cache as far as no sequence holds it; tell whether all of it is gone."""
        return self.pool.forget()

    def _continue_running(self, work: list[tuple[Sequence, int]]) -> tuple[int, bool]:
        budget = self.limits.max_num_batched_tokens
        size = self.limits.block_size
        running = self.running
        preempted = False
        index = 0
        while index < len(running) and budget > 0:
            sequence = running[index]
            count = min(sequence.length - sequence.computed, budget)
            after = sequence.computed + count
            if after > len(sequence.blocks) * size:
                while not self._grow(sequence, after):
                    preempted = True
                    if self._preempt_last() is sequence:
                        return budget, True
            if after % size == 0 or count > 1:
                self._register(sequence, after)
            work.append((sequence, count))
            budget -= count
            index += 1
        return budget, preempted

    def _grow(self, sequence: Sequence, tokens_after: int) -> bool:
        fresh = self.pool.allocate(
            -(-tokens_after // self.limits.block_size) - len(sequence.blocks)
        )
        if fresh is None:
            return False
        sequence.blocks += fresh
        return True

    def _preempt_last(self) -> Sequence:
        victim = self.running.pop()
        self._release(victim)
        victim.computed = victim.transferred = 0
        victim.preemptions += 1
        victim.state = State.WAITING
        self.waiting.appendleft(victim)
        self.counters.preemptions += 1
        return victim

    def _admit(self, work: list[tuple[Sequence, int]], budget: int, now: float) -> None:
        limits = self.limits
        size = limits.block_size
        while self.waiting and budget > 0 and len(self.running) < limits.max_num_seqs:
            sequence = self.waiting[0]
            if sequence.arrival > now:
                break
            # The last token is always computed: its logits give the next one.
            hits = self.pool.match(sequence.hashes, (sequence.length - 1) // size)
            reused = len(hits) * size
            ready = max(reused, min(sequence.transferred, sequence.length - 1))
            count = min(sequence.length - ready, budget)
            blocks = self.pool.share(hits, -(-(ready + count) // size) - len(hits))
            if blocks is None:
                break
            self.waiting.popleft()
            sequence.blocks = blocks
            sequence.computed = reused  # what came from elsewhere is registered, too
            sequence.state = State.RUNNING
            self.running.append(sequence)
            if sequence.cached is None:
                sequence.cached = reused
                if limits.enable_prefix_caching:
                    self.counters.prefix_queries += len(sequence.prompt)
                    self.counters.prefix_hits += reused
            self._register(sequence, ready + count)
            sequence.computed = ready
            work.append((sequence, count))
            budget -= count

    def _register(self, sequence: Sequence, tokens_after: int) -> None:
        """Make the blocks findable that this step fills (as vLLM does, when it is scheduled)."""
        if not self.limits.enable_prefix_caching:
            return
        size = self.limits.block_size
        full = tokens_after // size
        if full > len(sequence.hashes):
            self._extend_hashes(sequence)
        for index in range(sequence.computed // size, full):
            self.pool.register(sequence.blocks[index], sequence.hashes[index])

    def _extend_hashes(self, sequence: Sequence) -> None:
        size = self.limits.block_size
        hashes = sequence.hashes
        done = len(hashes) * size
        ids = sequence.prompt[done:]
        if sequence.generated:
            # Only the tail is asked for: a whole answer is never hashed twice.
            begin = max(0, done - len(sequence.prompt))
            ids.extend(
                tokens.WORD_IDS[tokens.word_at(sequence.first_word, position)]
                for position in range(begin, sequence.generated)
            )
        data = ids.tobytes()
        width = size * ids.itemsize
        chain = hashes[-1] if hashes else sequence.salt
        for offset in range(0, len(data) - width + 1, width):
            chain = hash((chain, data[offset : offset + width]))
            hashes.append(chain)

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []


def _load(work: list[tuple[Sequence, int]]) -> Load:
    total = attended = context = 0
    for sequence, count in work:
        before = sequence.computed
        total += count
        context += before + count
        attended += count * before + count * (count + 1) // 2
    return Load(total, attended, context, len(work))
