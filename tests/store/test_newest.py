"""The ring of newest keys, against an OrderedDict that is told the same."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from gateway.store.newest import Newest


@given(most=st.integers(1, 6), ids=st.lists(st.integers(1, 9) | st.just(65_535), max_size=60))
def test_it_is_an_ordered_dict_with_a_limit(most: int, ids: list[int]) -> None:
    newest, model = Newest(most), OrderedDict[int, bytes]()
    for number, packet_id in enumerate(ids):
        key = number.to_bytes(10, "big")
        newest.put(packet_id, key)
        model[packet_id] = key
        model.move_to_end(packet_id)
        if len(model) > most:
            model.popitem(last=False)
        assert list(newest) == list(model.values())
        assert len(newest) == len(model)
        assert all(newest.get(one) == model.get(one) for one in (*range(1, 10), 65_535))
