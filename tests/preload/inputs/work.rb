# work.rb: strings, hashes, structs, threads, fibers, file reading, JSON, child processes.
require 'json'; require 'digest'; require 'set'; require 'tempfile'
words = (1..40_000).map { |i| "w#{i * 7919 % 5003}" }
count = words.tally
puts "tally #{count.size} #{count.sort_by { |w, c| [-c, w] }.first(3).inspect}"
Item = Struct.new(:id, :name, :tags)
items = (1..5000).map { |i| Item.new(i, "item#{i}", [i % 3, i % 5].map(&:to_s)) }
json = JSON.generate(items.map(&:to_h))
back = JSON.parse(json)
puts "json #{json.size} #{Digest::SHA256.hexdigest(JSON.pretty_generate(back))}"
results = 8.times.map { |n| Thread.new { (1..4000).map { |i| (i * (n + 1)).to_s * (i % 4) }.join.hash; (1..4000).sum { |i| i * n } } }.map(&:value)
puts "threads #{results.inspect}"
fibers = 200.times.map { |n| Fiber.new { a = "f#{n}"; 20.times { |i| Fiber.yield(a = "#{a}.#{i}") }; a } }
last = nil
21.times { last = fibers.map { |f| f.resume } }
puts "fibers #{Digest::MD5.hexdigest(last.join)}"
Tempfile.create('lines') do |f|
  20_000.times { |i| f.puts "line #{i} #{'y' * (i % 30)}" }
  f.flush
  readers = 20.times.map { File.open(f.path) }
  total = 0
  readers.each { |r| 10.times { total += r.gets.size } }
  GC.start
  readers.each { |r| total += r.read.size; r.close }
  puts "read #{total} #{File.foreach(f.path).count { |l| l =~ /yyyyy$/ }}"
end
puts `echo from a child`.inspect, IO.popen(%w[sort -r], 'r+') { |p| p.puts %w[a c b]; p.close_write; p.read }.inspect
text = words.join(' ')
puts "gsub #{Digest::MD5.hexdigest(text.gsub(/w(\d)(\d*)/) { "#{$2}-#{$1}" })}"
big = (1..300).inject(:*)
puts "bignum #{big.to_s.size} #{big.digits.sum}"
