"""Two processes that meet, and what becomes of both where one fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kennel.distributed import all_gather_ints, rank_zero_first, ranks_together
from kennel.errors import DataError

SCRIPT = str(Path(__file__).with_name("one_meeting.py"))


def test_ranks_meet_and_where_one_fails_rank_0_says_so_and_all_end(two_ranks: Callable[..., Any]) -> None:
    codes, said = two_ranks(SCRIPT)
    assert codes == [0, 9], said
    least, rows = -(2**62), [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert said[0][0].splitlines() == [
        f"2 {[(10, least), (11, least + 1)]} {rows} 0 {[(7,), (8,)]}",
        "well []",
        "SystemExit(2) ['[Errno 28] No space left on device']",
        "SystemExit(2) ['in words: 7.png is damaged: mend or remove it']",
        "SystemExit(2) [\"rank 1 failed with ZeroDivisionError('by zero'): see its traceback\"]",
        *(
            f"SystemExit(2) ['in words: the ranks could not sum a tensor ({reason}): see the output of "
            "the other ranks, and start all ranks again']"
            for reason in ("Invalid scalar type", "CUDA out of memory")
        ),
        "SystemExit(2) ['in words: 8.png is damaged: mend or remove it']",
        "SystemExit(2) ['another rank has died or did not respond for 0:30:00: see its output, and start "
        "all ranks again']",
    ]
    assert said[1][0].splitlines() == [
        *("well []", "SystemExit(2) []", "SystemExit(2) []", "ZeroDivisionError('by zero') []"),
        *("SystemExit(2) []", "SystemExit(2) []", "SystemExit(2) []"),
    ]


@pytest.mark.parametrize("other", ["stuck", "dead"])
def test_what_the_others_do_not_hear_a_rank_says_itself_and_leaves(
    other: str, two_ranks: Callable[..., Any], tmp_path: Path
) -> None:
    codes, said = two_ranks(SCRIPT, other, str(tmp_path))
    assert codes == [9, 2], said
    assert said[1] == ("", "Error: 7.png is damaged: mend or remove it\n")
    assert said[0][0] == ("the other has left\n" if other == "stuck" else "")


def test_a_process_alone_meets_itself_and_errors_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks_together(pytest.fail, str):
        assert all_gather_ints(3, 4) == [(3, 4)]
        assert rank_zero_first(lambda: "made") == "made"
    with pytest.raises(DataError, match="as it is"), ranks_together(pytest.fail, str):
        raise DataError("as it is")
