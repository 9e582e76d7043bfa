# The Ruby client through Ringway: everyday commands, a pipeline, a transaction, a queue, a subscription.
#
# Prints "ok NAME" or "FAILED NAME: why" for each check; the caller counts.

require "redis"
require "securerandom"
require "timeout"

HOST, PORT = ARGV[0], ARGV[1].to_i
PATIENCE = 20

def client
  Redis.new(host: HOST, port: PORT, timeout: PATIENCE)
end

def equal(got, expected)
  raise "#{got.inspect} instead of #{expected.inspect}" unless got == expected
end

CHECKS = {
  "strings and hashes" => lambda do |p|
    r = client
    equal(r.set("#{p}:s", "value", ex: 100), "OK")
    equal(r.get("#{p}:s"), "value")
    equal(r.incrby("#{p}:n", 41), 41)
    equal(r.hset("#{p}:h", "a", "1", "b", "2"), 2)
    equal(r.hgetall("#{p}:h"), { "a" => "1", "b" => "2" })
  end,
  "many keys" => lambda do |p|
    r = client
    pairs = (0...50).to_h { |n| ["#{p}:#{n}", n.to_s] }
    equal(r.mapped_mset(pairs), "OK")
    equal(r.mapped_mget(*pairs.keys), pairs)
    equal(r.scan_each(match: "#{p}:*").to_a.uniq.length, 50)
    equal(r.del(*pairs.keys), 50)
  end,
  "pipeline and transaction" => lambda do |p|
    r = client
    equal(r.pipelined { |pipe| 100.times { |n| pipe.set("#{p}:#{n}", n) } }, ["OK"] * 100)
    equal(r.multi { |tx| tx.incr("{#{p}}:n"); tx.rpush("{#{p}}:l", "x") }, [1, 1])
    equal(r.watch("{#{p}}:n") { client.incr("{#{p}}:n"); r.multi { |tx| tx.incr("{#{p}}:n") } }, nil)
  end,
  "queue" => lambda do |p|
    waiting = Thread.new { client.blpop("#{p}:q", timeout: PATIENCE) }
    client.rpush("#{p}:q", "job")
    equal(waiting.value, ["#{p}:q", "job"])
    equal(client.blpop("#{p}:q", timeout: 1), nil)
  end,
  "subscription" => lambda do |p|
    heard, ready = [], Queue.new
    listener = Thread.new do
      client.subscribe("#{p}:a", "#{p}:b") do |on|
        on.subscribe { |_, count| ready << true if count == 2 }
        on.message do |channel, message|
          heard << [channel, message]
          raise StopIteration if heard.length == 2
        end
      end
    rescue StopIteration
      nil
    end
    ready.pop
    equal(client.publish("#{p}:a", "1"), 1)
    equal(client.publish("#{p}:b", "2"), 1)
    listener.join(PATIENCE)
    equal(heard.sort, [["#{p}:a", "1"], ["#{p}:b", "2"]])
  end,
  "scripts" => lambda do |p|
    r = client
    sha = r.script(:load, "return {KEYS[1], ARGV[1]}")
    20.times { |n| equal(r.evalsha(sha, ["#{p}:#{n}"], ["v"]), ["#{p}:#{n}", "v"]) }
  end
}.freeze

failed = 0
CHECKS.each do |name, check|
  Timeout.timeout(3 * PATIENCE) { check.call("ruby:#{name.tr(' ', '-')}:#{SecureRandom.hex(3)}") }
  puts "ok ruby #{name}"
rescue StandardError => error
  failed += 1
  puts "FAILED ruby #{name}: #{error.message.lines.first}"
  puts error.backtrace.first(5)
end
exit(failed.zero? ? 0 : 1)
