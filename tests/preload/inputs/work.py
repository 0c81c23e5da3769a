# work.py: json, re, threads, subprocess and the sqlite3 module; prints what does not depend on
# addresses or timing.
import collections, hashlib, json, re, sqlite3, subprocess, sys, threading, zlib

def records(n):
    return [{"id": i, "name": "user%d" % (i * 7919 % n), "tags": ["t%d" % (i % k) for k in (3, 5, 7)],
             "value": i * 1.5, "nested": {"a": [i, i + 1, {"b": None}], "c": "x" * (i % 50)}}
            for i in range(n)]

def use_json():
    data = records(4000)
    text = json.dumps(data, sort_keys=True)
    again = json.loads(text)
    assert again == data
    digest = hashlib.sha256(json.dumps(again, indent=1).encode()).hexdigest()
    print("json", len(text), digest)

def use_re():
    text = " ".join("word%d=%d;%s" % (i, i * i, "ab" * (i % 9)) for i in range(8000))
    pairs = re.findall(r"(\w+)=(\d+);((?:ab)*)", text)
    swapped = re.sub(r"(\w+)=(\d+)", lambda m: m.group(2) + "=" + m.group(1), text)
    print("re", len(pairs), zlib.crc32(swapped.encode()))

def use_threads():
    results, lock = {}, threading.Lock()
    def work(n):
        counter = collections.Counter()
        for i in range(8000):
            counter["k%d" % (i * n % 101)] += len(str(i) * (i % 5))
        with lock:
            results[n] = sorted(counter.items())[:5]
    for turn in range(3):
        threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
        for t in threads: t.start()
        for t in threads: t.join()
    print("threads", sorted(results.items()))

def use_subprocess():
    for i in range(5):
        out = subprocess.run([sys.executable, "-c", "import json; print(json.dumps(list(range(%d))))" % i],
                             capture_output=True, text=True, check=True).stdout
        print("subprocess", out.strip())
    p = subprocess.Popen(["sort", "-r"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    print("sort", p.communicate("\n".join("line %d" % (i % 10) for i in range(300)))[0].count("line 9"))

def use_sqlite():
    db = sqlite3.connect(":memory:")
    db.execute("create table t (id integer primary key, name text, value real)")
    db.executemany("insert into t values (?, ?, ?)",
                   ((i, "name%d" % (i % 100), i / 3) for i in range(15000)))
    db.execute("create index by_name on t (name)")
    rows = db.execute("select name, count(*), round(sum(value), 3) from t group by name order by name").fetchall()
    print("sqlite", len(rows), rows[:3], db.execute("select count(*) from t a join t b using (id) where a.value > b.value - 1").fetchone())
    db.close()

for f in (use_json, use_re, use_threads, use_subprocess, use_sqlite):
    f()
