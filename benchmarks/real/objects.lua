-- objects.lua PERCENT: tables and strings that come and go: binary trees as in the Computer
-- Language Benchmarks Game (after Boehm's GCBench), a map of records with text keys, strings put
-- together.
local percent = tonumber(arg[1])

local function tree(depth)
  if depth == 0 then return {} end
  return {tree(depth - 1), tree(depth - 1)}
end

local function count(node)
  if not node[1] then return 1 end
  return 1 + count(node[1]) + count(node[2])
end

local total = 0
local long_lived = tree(13)
for i = 1, percent * 2 do total = total + count(tree(6 + i % 5)) end
total = total + count(long_lived)

local records, state = {}, 1
for i = 1, percent * 1500 do
  state = (state * 1103515245 + 12345) % 2147483648
  local key = "record" .. state % 20000
  local record = records[key]
  if record == nil or i % 7 == 0 then
    records[key] = {name = key .. "-" .. i, values = {i, i + 1, i + 2}, visits = 0}
  else
    record.visits = record.visits + 1
    record.name = record.name:sub(1, 20) .. record.visits
  end
end
local names = {}
for _, record in pairs(records) do names[#names + 1] = record.name end
table.sort(names)

local text = {}
for i = 1, percent * 300 do text[#text + 1] = ("%05d:%s"):format(i, names[i % #names + 1]) end
print(total, #names, names[1], #table.concat(text, ","))
