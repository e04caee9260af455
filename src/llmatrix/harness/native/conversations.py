"""Prompts of ``multi-turn``: each turn repeats all that was said before, and asks one thing more.

Questions are drawn as every prompt is; so no two sessions, and no two turns, share anything but
what the conversation itself repeats. The answers in it are either made, of exactly the asked
length, or what the server answered. Made ones make the traffic the same for every server, and
every length exact; received ones are what a real client repeats, and what the server's cache
holds, for which the length of the next prompt is only nearly known.
"""

from __future__ import annotations

from llmatrix.harness.native.forms import Form, Prompt, plain
from llmatrix.harness.native.prompts import Vocabulary


class Conversations:
    """The prompts of sessions of ``turns`` requests; request ``session * turns + turn``.

    A session's text is kept from one of its turns to the next, and forgotten with its last.

    Raises:
        ValueError: the tokenizer adds more tokens to every prompt than a question has.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        form: Form,
        *,
        seed: int,
        turns: int,
        question_len: int,
        output_len: int,
    ) -> None:
        if question_len <= vocabulary.extra:
            raise ValueError(
                f"the tokenizer adds {vocabulary.extra} tokens to every prompt; "
                f"its first part must be longer than {question_len}"
            )
        self._vocabulary = vocabulary
        self._form = form
        self._seed = seed
        self._turns = turns
        self._question_len = question_len
        self._output_len = output_len
        self._said: dict[int, list[bytes]] = {}
        self._received: dict[int, bytes] = {}

    def prompt(self, number: int) -> Prompt:
        """Make the prompt of a turn; turns of a session come in their order."""
        session, turn = divmod(number, self._turns)
        said = self._said.setdefault(session, [self._form.before])
        if turn:
            said += [self._form.answered, self._answer(session, turn), self._form.asked]
        said.append(self._question(session, turn))
        tokens = (turn + 1) * self._question_len + turn * self._output_len
        return Prompt([*said, self._form.after], tokens, self._output_len, session, turn)

    def stock(self, number: int) -> int:
        """Make nothing ahead: a turn depends on those before it."""
        del number
        return 0

    def received(self, session: int, words: str) -> None:
        """Take what the server answered to the turn before."""
        self._received[session] = plain(words)

    def forget(self, session: int) -> None:
        """Forget a session that is over."""
        self._said.pop(session, None)
        self._received.pop(session, None)

    def _answer(self, session: int, turn: int) -> bytes:
        received = self._received.pop(session, None)
        if received is not None:
            return received
        return self._vocabulary.written(self._seed, ("answer", session, turn), self._output_len)

    def _question(self, session: int, turn: int) -> bytes:
        extra = 0 if turn else self._vocabulary.extra
        tokens = self._question_len - extra
        return self._vocabulary.written(self._seed, ("question", session, turn), tokens)
