"""What is known of files: some megabytes of it, whatever programs come with."""

from softsgx.native.plain import KnownFiles

KIB = tuple(range(128))
"""Places that take one."""
MANY = 4 * 4096
"""More files than can be known at once, with so many places each."""


def identity(number: int) -> tuple[int, ...]:
    return (1, number, 2, 3, 4)


def test_what_was_told_is_found() -> None:
    files = KnownFiles()
    files.know(identity(7), (5, 9))
    files.know(identity(8), ())
    assert files.find(identity(7)) == (5, 9)
    assert files.find(identity(8)) == ()
    assert files.find((1, 7, 2, 3, 5)) is None


def test_what_nobody_asked_for_in_long_is_forgotten() -> None:
    files = KnownFiles()
    for number in range(MANY):
        files.know(identity(number), KIB)
        assert files.find(identity(0)) == KIB  # which is asked for all the time
    assert files.find(identity(MANY - 1)) == KIB
    known = sum(files.find(identity(number)) is not None for number in range(1, MANY))
    assert 1000 < known < MANY / 2


def test_what_an_earlier_run_found_is_never_forgotten() -> None:
    files = KnownFiles(b"1 0 2 3 4 5,9\n")
    for number in range(1, MANY):
        files.know(identity(number), KIB)
    assert files.find(identity(0)) == (5, 9)
