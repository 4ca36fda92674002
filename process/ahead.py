"""Work in threads: items made ahead of the one who asks for them."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import torch


def pool_of(threads: int) -> ThreadPoolExecutor:
    """Threads in which torch uses as many of its own as it does here.

    A new thread adopts torch.set_num_threads only when it first asks for the number.
    """
    return ThreadPoolExecutor(threads, initializer=torch.get_num_threads)


def made_ahead(make: Callable, items: Iterable, threads: int, ahead: int = 1) -> Generator:
    """map(make, items), made in threads while this one gets the next item and uses the last result.

    At most `ahead` more than the one that is asked for are under way.
    """
    pool = pool_of(threads)
    waiting: collections.deque[Future] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            del item  # it is the thread's
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # waits for those that are being made
