-- steady.lua: a table of constant size whose entries are replaced without end: a steady state of
-- some 60 MB and nearly two gigabytes that pass through it: long enough for what is dropped in the
-- last collections, and cannot be confirmed any more, to be a small part.
local slots, n = {}, 20000
local seed = 42
local function random(m) seed = (seed * 1103515245 + 12345) % 2147483648 return seed // 256 % m end
local base, sum = string.rep("x", 3000), 0
for i = 1, 650000 do
  local k = random(n) + 1
  local old = slots[k]
  if old then sum = (sum + #old.text + old.list[1]) % 1000000007 end
  slots[k] = { text = base:sub(1, 2000 + i % 1000) .. i, list = { i, i + 1, i + 2 }, key = "key" .. i }
  if i % 100000 == 0 then print(i, sum) end
end
