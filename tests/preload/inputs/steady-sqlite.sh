# steady-sqlite.sh: a table in memory of constant size, rows replaced and queries run over it.
exec sqlite3 :memory: <<END
pragma cache_size = 200;
create table t (id integer primary key, body blob, name text);
with recursive n(i) as (select 0 union all select i + 1 from n where i < 29999)
insert into t select i, zeroblob(1000 + i % 500), 'name' || i from n;
create index by_name on t (name);
$(i=1; while [ $i -le 10 ]; do
    echo "update t set body = zeroblob(900 + (id * $i) % 700), name = 'n' || (id * $i) where id % 5 = $((i % 5));"
    echo "select count(*), sum(length(x)) from (select group_concat(name || printf('%0200d', id), ',') x from t group by id % 997);"
    echo "select max(length(x)) from (select replace(name, 'n', printf('%.300c', 'y')) x from t order by x desc limit 5000);"
    i=$((i + 1))
done)
END
