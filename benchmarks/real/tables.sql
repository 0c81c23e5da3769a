-- tables.sql: a database in memory: rows, indices, a join, sorting, text, updates and deletes. ROWS
-- is put in by the driver.
create table item (id integer primary key, owner integer, label text, weight real);
create table owner (id integer primary key, name text unique);
insert into owner
  with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000)
  select i, 'owner ' || (i * 7919 % 1009) || '-' || i from n;
insert into item
  with recursive n(i) as (select 1 union all select i + 1 from n where i < ROWS)
  select i, i * 31 % 1000 + 1, 'label ' || (i * 104729 % 1000003), i * 0.37 from n;
create index item_owner on item(owner);
create index item_label on item(label);
select name, count(*), round(sum(weight), 1), max(label)
  from item join owner on owner.id = item.owner group by name order by 3 desc, 1 limit 5;
update item set label = upper(label) || id where id % 5 = 0;
delete from item where id % 11 = 0;
select substr(label, 1, 8) as start, count(*) from item group by start order by 2 desc, 1 limit 5;
select length(group_concat(label, ',')) from (select label from item order by label desc);
select count(*), total(length(replace(label, '1', 'one'))) from item where label like '%9%';
