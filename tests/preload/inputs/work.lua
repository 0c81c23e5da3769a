-- work.lua: tables, strings, closures, coroutines, patterns. All of it goes through realloc.
local function checksum(s) local h = 5381 for i = 1, #s, 7 do h = (h * 33 + s:byte(i)) % 4294967296 end return h end
local rows = {}
for i = 1, 40000 do rows[i] = { id = i, key = "k" .. (i * 7919 % 1009), text = string.rep("ab", i % 30) } end
table.sort(rows, function(a, b) if a.key ~= b.key then return a.key < b.key end return a.id < b.id end)
local parts = {}
for i, r in ipairs(rows) do parts[i] = r.key .. ":" .. r.id .. ":" .. #r.text end
print("sorted", checksum(table.concat(parts, "\n")))
local text = table.concat(parts, " ")
print("gsub", checksum((text:gsub("k(%d+):(%d+)", "%2-%1"))), select(2, text:gsub("%d+", "")))
local made = {}
for round = 1, 20 do
  local routines = {}
  for i = 1, 200 do
    routines[i] = coroutine.wrap(function() local s = "c" .. i for j = 1, 10 do s = s .. "." .. j coroutine.yield(s) end end)
  end
  for j = 1, 10 do for i = 1, 200 do made[i] = routines[i]() end end
end
print("coroutines", checksum(table.concat(made)))
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
local weak = setmetatable({}, { __mode = "k" })
for i = 1, 50000 do weak[{}] = { i } if i % 10000 == 0 then collectgarbage("step") end end
print("fib", fib(24))
local q = {}
for i = 1, 300000 do q[#q + 1] = { i } if #q > 500 then q = {} end end
print("queue", #q)
collectgarbage()
