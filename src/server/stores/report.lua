-- Counts the requests that an instance reports against a limit, and returns what the instance needs to go on.
--
-- KEYS[1]   the instances that use the limit, a sorted set by the time of their last report
-- KEYS[2..] the limited keys
-- ARGV[1]   the instance that reports
-- ARGV[2]   microseconds between two requests at the limit's rate
-- ARGV[3]   microseconds since the instance's last report
-- ARGV[4]   microseconds after which an instance that does not report is gone
-- ARGV[5..] the requests of each limited key
--
-- Returns the number of instances, then for each limited key how many microseconds its theoretical arrival time is ahead.

-- How long a key outlives its use, in milliseconds: reports that follow count from the same time.
local GRACE = 10000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[2])
local since = now - ARGV[3]

redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[4]))
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[4] / 1000))

local reply = { redis.call('ZCARD', KEYS[1]) }
for i = 2, #KEYS do
    local arrival = tonumber(redis.call('GET', KEYS[i]) or 0)
    -- The requests came evenly since the last report.
    arrival = math.max(arrival, since) + ARGV[i + 3] * interval
    local ahead = math.max(arrival - now, 0)
    redis.call('SET', KEYS[i], string.format('%.3f', arrival), 'PX', math.ceil(ahead / 1000) + GRACE)
    reply[i] = math.ceil(ahead)
end
return reply
