-- Admits or refuses one request by GCRA (the generic cell rate algorithm, ITU-T I.371):
-- one timestamp per key, the theoretical arrival time of the next request.
--
-- KEYS[1]  the limit's key
-- ARGV[1]  microseconds between two requests at the steady rate
-- ARGV[2]  burst: how many requests may come at once
-- returns  {admitted 0|1, remaining requests, microseconds until one more is admitted,
--           microseconds until the whole burst is free again}
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local interval = tonumber(ARGV[1])
local tolerance = interval * tonumber(ARGV[2])

local function keep(due)
  -- Formatted by hand: Lua would write so large a number with an exponent.
  local ms = math.ceil((due - now) / 1000)
  redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', ms)
end

local due = tonumber(redis.call('GET', KEYS[1]) or now)
if due < now then due = now end
if due > now + tolerance then
  -- The server's clock was set back, or the limit was lowered: without this the key
  -- would be refused until the clock has caught up.
  due = now + tolerance
  keep(due)
end
local next_due = due + interval
local wait = next_due - now - tolerance
if wait > 0 then
  return {0, 0, wait, due - now}
end
keep(next_due)
return {1, math.floor((tolerance - (next_due - now)) / interval), 0, next_due - now}
