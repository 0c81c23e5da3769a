"""objects.py PERCENT: objects, dictionaries, lists and strings that come and go. Run it with
PYTHONMALLOC=malloc, so that each is a block of malloc's and not of Python's own allocator."""
import sys


class Node:
    __slots__ = ("key", "left", "right", "note")

    def __init__(self, key):
        self.key, self.left, self.right = key, None, None
        self.note = "node %d" % key


def insert(root, key):
    while True:
        side = "left" if key < root.key else "right"
        below = getattr(root, side)
        if below is None:
            setattr(root, side, Node(key))
            return
        root = below


def main(percent):
    state, checked = 1, 0
    for part in range(max(1, percent // 4)):
        root, groups = Node(1 << 29), {}
        for i in range(3500):
            state = (state * 1103515245 + 12345) & 0x3fffffff
            insert(root, state)
            groups.setdefault(state % 997, []).append({"value": state / 7, "text": str(state)})
        for key in sorted(groups):
            joined = ",".join(entry["text"] for entry in groups[key])
            checked = (checked * 31 + len(joined) + int(joined[-3:])) % 1000000007
        pairs = [(k, tuple(e["value"] for e in v)) for k, v in groups.items()]
        checked += len(pairs) + sum(len(values) for _, values in pairs)
        words = ("word%d " % (part * 31)) * 2000
        checked += len(set(words.replace("o", str(part)).split(" ")))
        digits = 3 ** 2000
        for i in range(300):
            digits = digits * 7 // 5 + i
        checked += digits % 1000003
    print(checked)


main(int(sys.argv[1]))
