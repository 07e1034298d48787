import threading

from cells.stats import Stats


def test_a_counter_that_never_counted_is_zero():
    assert Stats().get('messages_sent', neighbour='leaf') == 0


def test_each_set_of_labels_has_a_counter_of_its_own():
    stats = Stats()
    stats.count('messages_sent')
    stats.count('messages_sent', neighbour='a')
    stats.count('messages_sent', 3, neighbour='b')
    assert stats.get('messages_sent') == 1
    assert stats.get('messages_sent', neighbour='a') == 1
    assert stats.get('messages_sent', neighbour='b') == 3


def test_the_order_of_labels_does_not_matter():
    stats = Stats()
    stats.count('refused', reason='x', neighbour='a')
    stats.count('refused', neighbour='a', reason='x')
    assert stats.get('refused', neighbour='a', reason='x') == 2


def test_a_label_may_be_called_like_an_argument():
    stats = Stats()
    stats.count('started', name='api')
    assert stats.get('started', name='api') == 1


def test_a_snapshot_shows_the_counters_as_a_metrics_page_writes_them():
    stats = Stats()
    stats.count('b', neighbour='leaf', kind='targeted')
    stats.count('a', 2)
    snapshot = stats.snapshot()
    assert snapshot == {'a': 2, 'b{kind="targeted",neighbour="leaf"}': 1}
    stats.count('a')
    assert snapshot['a'] == 2


def test_no_count_is_lost_between_threads():
    stats = Stats()

    def count():
        for _ in range(2000):
            stats.count('messages_sent', neighbour='leaf')

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stats.get('messages_sent', neighbour='leaf') == 8000


def test_times_are_put_into_classes_with_the_bound_inside():
    stats = Stats()
    for seconds in (0.001, 0.005, 0.3, 60, 61):
        stats.observe('answer_seconds', seconds, neighbour='leaf')
    [(name, labels, numbers, total)] = stats.export()['histograms']
    assert (name, labels) == ('answer_seconds', {'neighbour': 'leaf'})
    assert numbers[0] == 2
    assert numbers[-2:] == [1, 1]
    assert sum(numbers) == 5
    assert abs(total - 121.306) < 1e-9


def test_a_thread_is_late_when_it_does_not_turn_and_is_not_while_it_rests():
    stats = Stats()
    stats.beat('fine')
    stats.beat('hangs', within=-1)
    stats.beat('rests', within=-1)
    stats.rest('rests')
    assert list(stats.export()['late']) == ['hangs']
    stats.beat('hangs')
    assert stats.export()['late'] == {}


def test_what_is_exported_is_what_was_counted():
    stats = Stats()
    stats.count('b', 2, neighbour='leaf')
    stats.count('a')
    assert stats.export()['counters'] == [('a', {}, 1), ('b', {'neighbour': 'leaf'}, 2)]
