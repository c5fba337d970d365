import hashlib
from collections import Counter

import pytest

from rollingq.data.sources.splits import (
    at_lines,
    classes_of,
    count_of,
    disjoint,
    hash_order,
    hold_out,
    overlap,
    parse_split,
    read_list,
    stratified,
)
from rollingq.errors import DataError


def units(sizes):
    return {f"unit{label}-{number}": label for label, size in enumerate(sizes) for number in range(size)}


def test_the_order_is_that_of_the_digests_and_not_of_the_input():
    names = [f"clip{number}" for number in range(50)]
    by_hand = sorted(names, key=lambda name: hashlib.sha256(b"3:" + name.encode()).digest())
    assert hash_order(names, "3") == hash_order(reversed(names), "3") == by_hand
    assert hash_order(names, "4") != by_hand


@pytest.mark.parametrize(
    ("total", "share", "count"), [(0, 0.1, 0), (1, 0.1, 0), (2, 0.2, 0), (3, 0.1, 1), (14, 0.1, 1)]
)
def test_counts_of_few(total, share, count):
    assert count_of(total, share) == count


@pytest.mark.parametrize(("total", "count"), [(15, 2), (25, 3), (100, 10), (744, 74)])
def test_counts_are_rounded_half_up(total, count):
    assert count_of(total, 0.1) == count


def test_hold_out_takes_the_first_of_every_class_in_hash_order():
    classes = units([40, 9])
    held = hold_out(classes, 0.25, "s")
    for label, count in ((0, 10), (1, 2)):
        members = [unit for unit in classes if classes[unit] == label]
        assert {unit for unit in held if classes[unit] == label} == set(hash_order(members, "s")[:count])
    assert hold_out(dict(reversed(classes.items())), 0.25, "s") == held


def test_stratified_gives_every_class_its_shares_in_every_split():
    classes = units([100, 30, 3, 2])
    splits = stratified(classes, salt="1")
    counts = Counter((classes[unit], split) for unit, split in splits.items())
    assert {key: counts[key] for key in sorted(counts)} == {
        (0, "test"): 10,
        (0, "train"): 80,
        (0, "val"): 10,
        (1, "test"): 3,
        (1, "train"): 24,
        (1, "val"): 3,
        (2, "test"): 1,
        (2, "train"): 1,
        (2, "val"): 1,
        (3, "train"): 2,
    }
    assert stratified(classes, salt="2") != splits
    assert stratified(dict(reversed(classes.items())), salt="1") == splits


def test_a_new_unit_does_not_move_units_of_other_classes():
    before, after = stratified(units([30, 30])), stratified(units([31, 30]))
    assert all(after[unit] == split for unit, split in before.items() if unit.startswith("unit1"))


def test_disjoint_gives_every_group_one_split():
    groups = [f"actor{number % 91}" for number in range(500)]
    splits = disjoint(groups, val=0.1, test=0.2)
    assert (set(splits), Counter(splits.values())) == (set(groups), Counter(train=64, val=9, test=18))


def test_a_unit_has_the_class_of_most_of_its_clips():
    assert classes_of([("a", 3), ("a", 1), ("a", 1), ("b", 2), ("b", 0)]) == {"a": 1, "b": 0}


def test_overlap_counts_shared_groups_once():
    pairs = [("train", "a"), ("train", "b"), ("val", "b"), ("test", "a"), ("test", "b"), ("test", "a"), ("val", "")]
    assert overlap([*pairs, ("train", "")]) == {"train-val": 1, "train-test": 2, "val-test": 1}


def test_split_options():
    rules = {"plain": ["paper"], "seeded": ["actors", "random"]}
    assert parse_split("paper", **rules) == ("paper", "0")
    assert parse_split("actors", **rules) == ("actors", "0")
    assert parse_split("random:07", **rules) == ("random", "7")
    for text in ("paper:1", "random:", "random:x", "random:-1", "randm:3", ""):
        with pytest.raises(DataError, match="Expected split to be one of paper, actors:SEED, random:SEED") as caught:
            parse_split(text, **rules)
        assert "\n" not in str(caught.value)


LISTS = {
    "commas": "a,NEU\nb, 3\n",
    "spaces": "a NEU\nb   3\n",
    "header and byte order mark": "\ufeffName,Label\na,NEU\n\nb,3\n",
    "quotes and carriage returns": '"name","label"\r\n"a","NEU"\r\n"b",3\r\n',
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_several_forms(tmp_path, kind):
    (tmp_path / "list.csv").write_bytes(LISTS[kind].encode())
    assert read_list(tmp_path / "list.csv") == [("a", "NEU"), ("b", "3")]


def test_labels_may_have_spaces_and_a_clip_may_be_called_label(tmp_path):
    (tmp_path / "list.txt").write_text("clip1 playing drums\nlabel 2\n")
    assert read_list(tmp_path / "list.txt") == [("clip1", "playing drums"), ("label", "2")]


BAD_LISTS = {
    "one field": (b"a,1\nb\nc,2\n", "in line 2"),
    "three fields": (b"a,1,x\nb,2,x\nc,3,x\nd,4,x\n", "in lines 1, 2, 3 and 1 more"),
    "empty field": (b"a,1\n,2\n", "in line 2"),
    "twice": (b"a,1\nb,2\na,1\n", "repeated names in line 3"),
    "no entry": (b"name,label\n", "got none"),
    "empty": (b"", "got none"),
    "no text": (b"\xff\xfe\x00a", "UTF-8"),
    "NUL": (b"a\x00,1\n", "NUL"),
}


@pytest.mark.parametrize("kind", BAD_LISTS)
def test_a_damaged_list_is_refused_in_one_line(tmp_path, kind):
    data, text = BAD_LISTS[kind]
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(DataError, match=text) as caught:
        read_list(tmp_path / "list.csv")
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_list(tmp_path / "list.csv")


def test_lines_are_named():
    assert at_lines([7]) == "line 7"
    assert at_lines([7, 9]) == "lines 7, 9"
