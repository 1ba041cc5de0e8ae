-- One bucket of tokens as a single number: the instant, in microseconds, at which it will be full again (the generic
-- cell rate algorithm). KEYS[1] is the bucket; ARGV are microseconds a token and tokens in a full bucket.
-- Answers: whether the call may go on, tokens left, microseconds until the bucket is full, microseconds to wait.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local token = tonumber(ARGV[1])
local depth = token * tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1]) or now)
if full < now then full = now end
local next = full + token
if next - now > depth then
  return {0, 0, full - now, next - now - depth}
end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1000)
return {1, math.floor((depth - (next - now)) / token), next - now, 0}
