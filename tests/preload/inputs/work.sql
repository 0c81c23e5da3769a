-- work.sql: tables, indexes, joins, strings, JSON, recursive queries, a transaction undone.
create table people (id integer primary key, name text, city text, born integer, notes text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
insert into people select i, 'name' || (i * 7919 % 10007), 'city' || (i % 97), 1900 + i % 100,
  substr('abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz', 1, i % 52) from n;
create index by_name on people (name);
create index by_city on people (city, born);
select city, count(*), min(name), max(born), sum(length(notes)) from people group by city order by city limit 20;
select count(*), sum(a.id) from people a join people b on a.name = b.name and a.id < b.id;
select group_concat(name, ',') from (select name from people where city = 'city5' order by name limit 50);
create table parts as select id, json_object('id', id, 'name', name, 'list', json_array(born, city)) j from people where id < 5000;
select sum(json_extract(j, '$.list[0]')), count(distinct json_extract(j, '$.list[1]')) from parts;
begin; update people set notes = upper(notes) || name; delete from people where id % 3 = 0;
select count(*), sum(length(notes)) from people; rollback;
select count(*), sum(length(notes)) from people;
create virtual table docs using fts5(body);
insert into docs select name || ' ' || city || ' ' || notes from people where id % 5 = 0;
select count(*) from docs where docs match 'city5';
with recursive tree(id, path) as (select 1, '1' union all select id * 2, path || '/' || (id * 2) from tree where id < 100000)
select count(*), max(length(path)) from tree;
explain query plan select * from people where city = 'city3' and born > 1950;
select hex(zeroblob(20)), quote(printf('%08.3f', 3.14159));
