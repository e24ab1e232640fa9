# Scenarios that use nsqd through nsq-ruby: scenarios.rb <name> <address>...
#
# The address is nsqd's for TCP; those of discover are nsqlookupds' for HTTP.
# Every delivery is reported as a line `<body> <attempts>`; then comes a line `done`, and the program waits for a line
# in return: by then the test has seen in nsqd's statistics that every answer arrived.
# Exit status 0, or 1 and the reason.

require 'nsq'
require 'timeout'

TOPIC = 'nsq-ruby'
CHANNEL = 'scenarios'
# More than any scenario should take.
PATIENCE_S = 60
MSG_TIMEOUT_MS = 1000

$stdout.sync = true

def publish(address, one_by_one, at_once = [])
  producer = Nsq::Producer.new(nsqd: address, topic: TOPIC)
  one_by_one.each { |body| producer.write(body) }
  producer.write(*at_once) unless at_once.empty?
  producer
end

# Calls the block with each message until it returns true, then waits for the test.
def deliver(sources, max_in_flight = 1)
  # Without a timeout of its own, the library asks nsqd for one of a minute.
  settings = { topic: TOPIC, channel: CHANNEL, max_in_flight: max_in_flight, msg_timeout: MSG_TIMEOUT_MS }
  consumer = Nsq::Consumer.new(**settings, **sources)
  loop do
    message = consumer.pop
    puts "#{message.body} #{message.attempts}"
    break if yield message
  end
  puts 'done'
  $stdin.gets
  consumer.terminate
end

def wait_for_all(count, sources)
  seen = {}
  deliver(sources, 20) do |message|
    seen[message.body] = true
    message.finish
    seen.size == count
  end
end

def bodies(count)
  (0...count).map { |i| "message-#{i}" }
end

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

def check_delay(since, delay_s)
  after_s = now - since
  abort "came after #{after_s.round(3)} s, not #{delay_s} s" if after_s < delay_s
end

def consume(addresses)
  producer = publish(addresses[0], bodies(100)[0...10], bodies(100)[10..])
  wait_for_all(100, nsqd: addresses)
  producer.terminate
end

# Requeues each of 10 messages once.
def requeue(addresses)
  delay_s = 0.2
  producer = publish(addresses[0], bodies(10))
  requeued = {}
  seen = {}
  deliver({ nsqd: addresses }, 5) do |message|
    if message.attempts == 1
      requeued[message.body] = now
      message.requeue((delay_s * 1000).to_i)
    else
      check_delay(requeued[message.body], delay_s)
      seen[message.body] = true
      message.finish
    end
    seen.size == 10
  end
  producer.terminate
end

def defer(addresses)
  delay_s = 0.5
  producer = publish(addresses[0], [])
  published = now
  producer.deferred_write(delay_s, 'later')
  deliver({ nsqd: addresses }) do |message|
    check_delay(published, delay_s)
    message.finish
    true
  end
  producer.terminate
end

# Holds a message for more than twice its timeout of a second.
def touch(addresses)
  producer = publish(addresses[0], ['held'])
  deliver({ nsqd: addresses }) do |message|
    8.times do
      sleep 0.3
      message.touch
    end
    message.finish
    true
  end
  producer.terminate
end

# Leaves the first delivery without an answer.
def time_out(addresses)
  producer = publish(addresses[0], %w[first second])
  count = 0
  deliver({ nsqd: addresses }) do |message|
    count += 1
    message.finish if count > 1
    count == 3
  end
  producer.terminate
end

# Knows only nsqlookupds.
def discover(addresses)
  wait_for_all(20, nsqlookupd: addresses, discovery_interval: 1)
end

name, *addresses = ARGV
scenarios = %w[consume requeue defer touch time-out discover]
abort "no scenario #{name}" unless scenarios.include?(name)
Timeout.timeout(PATIENCE_S) { send(name.tr('-', '_'), addresses) }
