from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmatrix.sim import tokens


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=50))
def test_a_word_is_a_token(words: list[str]) -> None:
    assert len(tokens.of_text("  \n".join(words))) == len(words)
    assert tokens.of_text(" ".join(words)) == tokens.of_text("\t".join(words) + " ")


def test_answers_are_made_of_words_of_one_length_that_all_differ() -> None:
    assert len(set(tokens.WORDS)) == tokens.WORD_COUNT == 4096
    assert {len(word) for word in tokens.WORDS} == {4}
    assert len({tokens.word_at(3, position) for position in range(4096)}) == 4096


def test_an_answer_read_back_as_text_has_the_ids_that_the_cache_knew_it_by() -> None:
    words = [tokens.word_at(11, position) for position in range(5)]
    text = "".join(f" {tokens.WORDS[word]}" for word in words)

    assert list(tokens.of_text(text)) == [tokens.WORD_IDS[word] for word in words]


def test_a_chat_grows_at_its_end() -> None:
    first = tokens.of_chat([("user", "how are you")])
    second = tokens.of_chat([("user", "how are you"), ("assistant", "fine"), ("user", "good")])

    assert len(first) == 3 + 2 + 1
    assert second[: len(first)] == first
