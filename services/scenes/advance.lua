-- The life of one scene, decided where no other caller comes between reading and writing.
-- `todo` at the end names what the script does.
--
-- This is the twin of services/scenes/states.py: `settle` and `apply` here do what they do there,
-- and tests/contracts/test_scene_states.py holds the two together. Times are whole microseconds
-- of Redis's own clock; '' stands for Python's None.
--
-- KEYS[1]  the scene, a hash; it expires by itself
-- KEYS[2]  the debts of its shard: a sorted set of scene_str by the time of the claim
-- KEYS[3], KEYS[4]  (advance) the reply kept for the event, and the list of what moves of the shard
--          tell; `outcome` and `told` of the move say which is which, if there is any
-- KEYS[3]  (debt) that list, where anything is told
-- ARGV[1]  what to do: create, read, advance, attach, reattach, detach, debt
-- ARGV[2]  scene_str
-- ARGV[3]  microseconds added to the clock: 0 but in tests
--
-- A scene goes back as {verdict, now, reply or false, then the values of FIELDS, false where there
-- is none, then name and value of each detail}. What a create or a move brings comes as one JSON
-- text: many arguments cost the caller more than Redis saves.
-- All keys of a scene lie in one slot. PUBLISH comes after the writes in each function: a node that
-- reads on the notice finds what was written. A Redis Cluster carries it to its nodes everywhere.
-- The first of several writes must be one that a full Redis refuses (HSET is, ZREM is not): after
-- it all others go through, so that nothing is half done.

local SECOND = 1000000
local FINAL_READABLE = 60 * SECOND
local SCANNED_AT_LEAST = 30 * SECOND
local OWED = 30 * SECOND
local TRY_AGAIN = 'try_again'
local OUTCOME_SECONDS = 600
local DEBTS_SECONDS = 7200
local MOST_ATTACHED = 4

local FINAL = {consumed = true, expired = true, denied = true, cancelled = true, failed = true}
local TIMEOUT = {waiting = 'expired', scanned = 'expired', confirming = 'denied',
                 registering = 'expired', authorized = 'expired'}
local NEXT = {
  waiting = {scanned = true, expired = true, cancelled = true, failed = true},
  scanned = {confirming = true, registering = true, authorized = true, failed = true,
             expired = true, cancelled = true, denied = true},
  confirming = {authorized = true, registering = true, denied = true, expired = true,
                cancelled = true, failed = true},
  registering = {authorized = true, failed = true, expired = true, cancelled = true},
  authorized = {consumed = true, expired = true},
}
local ON_THE_WAY = {waiting = 1, scanned = 2, confirming = 3, registering = 4, authorized = 5,
                    consumed = 6}

-- Filled in by store_redis.py: the names of states.FIELDS, in their order.
local FIELDS = {}

local scene_key, debts_key, scene_str = KEYS[1], KEYS[2], ARGV[2]

local function whole(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * SECOND + tonumber(time[2]) + tonumber(ARGV[3])

-- The scene as time alone has made it by now, or nil.
local function settled()
  local flat = redis.call('HGETALL', scene_key)
  if #flat == 0 then
    return nil
  end
  local scene = {}
  for i = 1, #flat, 2 do
    scene[flat[i]] = flat[i + 1]
  end
  local ends = tonumber(scene.ends)
  if not FINAL[scene.state] and now >= ends then
    if scene.owed == '1' then
      scene.state, scene.error = 'failed', TRY_AGAIN
    else
      scene.state = TIMEOUT[scene.state]
    end
    scene.seq = whole(tonumber(scene.seq) + 1)
    scene.changed = scene.ends
    ends = ends + FINAL_READABLE
    scene.ends = whole(ends)
    scene.owed = '0'
  end
  if FINAL[scene.state] and now >= ends then
    return nil
  end
  return scene
end

local function answer(verdict, scene, reply)
  local out = {verdict, whole(now), reply or false}
  if scene then
    for i, field in ipairs(FIELDS) do
      out[i + 3] = scene[field] or false
    end
    for field, value in pairs(scene) do
      if string.sub(field, 1, 2) == 'd:' then
        out[#out + 1] = string.sub(field, 3)
        out[#out + 1] = value
      end
    end
  end
  return out
end

-- The scene is gone one minute after its last state ends, whether or not it is read.
local function expire_at(state, ends)
  local last = FINAL[state] and ends or ends + FINAL_READABLE
  redis.call('PEXPIREAT', scene_key, whole(math.ceil(last / 1000)))
end

-- Notice to each attached node but `except`: "scene_str seq newest", with 0 or the number of a new
-- socket. A node of an older version closes its socket of the scene for any number but 0.
local function notice(attached, seq, newest, except)
  local noticed = {}
  for node in string.gmatch(attached or '', '(%S+)/%S+') do
    if not noticed[node] and node ~= except then
      noticed[node] = true
      redis.call('PUBLISH', 'scanpush:node:' .. node, scene_str .. ' ' .. seq .. ' ' .. newest)
    end
  end
end

local function without(attached, entry)
  local kept = {}
  for other in string.gmatch(attached or '', '%S+') do
    if other ~= entry then
      kept[#kept + 1] = other
    end
  end
  return kept
end

-- Fields and details as HSET wants them. Microseconds came as text, which keeps every digit; all
-- other numbers are small and whole.
local function flat(fields, details)
  local out = {}
  for field, value in pairs(fields) do
    out[#out + 1] = field
    out[#out + 1] = value
  end
  for name, value in pairs(details) do
    out[#out + 1] = 'd:' .. name
    out[#out + 1] = value
  end
  return out
end

-- ARGV[4]: {fields, details, changed, ends}, the last two as the distance from created_at.
local function create()
  local new = cjson.decode(ARGV[4])
  local ends = now + tonumber(new.ends)
  new.fields.created = whole(now)
  new.fields.changed = whole(now + tonumber(new.changed))
  new.fields.ends = whole(ends)
  redis.call('HSET', scene_key, unpack(flat(new.fields, new.details)))
  expire_at('waiting', ends)
  return whole(now)
end

-- Why a move is not carried out: REPEATED, REFUSED, or nil when it may be.
local function obstacle(scene, move)
  if move.account and move.account ~= scene.account then
    return 'refused'
  end
  if move.kind and move.kind ~= scene.kind then
    return 'refused'
  end
  local claimant = scene.openid
  if move.openid and claimant and move.openid ~= claimant then
    return 'refused'
  end
  if scene.state == move.to then
    return 'repeated'
  end
  local here, there = ON_THE_WAY[scene.state], ON_THE_WAY[move.to]
  if move.openid and claimant == move.openid and here and there and here > there then
    return 'repeated'
  end
  if not string.find(move.sources, ' ' .. scene.state .. ' ', 1, true) then
    return 'refused'
  end
  if not (NEXT[scene.state] and NEXT[scene.state][move.to]) then
    return 'refused'
  end
  if move.seq and move.seq ~= tonumber(scene.seq) then
    return 'refused'
  end
  return nil
end

local function ending(scene, move)
  if FINAL[move.to] then
    return now + FINAL_READABLE
  end
  if move.owed then
    return now + OWED
  end
  if move.to == 'scanned' then
    return math.max(tonumber(scene.ends), now + SCANNED_AT_LEAST)
  end
  return now + tonumber(move.life)
end

local function changes(scene, move)
  local new = {state = move.to, seq = whole(tonumber(scene.seq) + 1), changed = whole(now),
               ends = whole(ending(scene, move)), owed = move.owed and '1' or '0',
               error = move.error}
  new.openid = scene.openid or move.openid
  new.user_id = move.user_id
  if move.to == 'authorized' then
    local second = math.floor(now / SECOND)
    new.jti, new.iat = move.jti, whole(second)
    new.exp, new.is_new = whole(second + move.token_ttl), move.is_new and '1' or '0'
  end
  return new
end

-- What the scene's state tells, for services/scenes/tellings.py: with the move, so that no crash
-- comes between a login and its event.
local function tell(told_key, scene)
  redis.call('RPUSH', told_key, cjson.encode({
    scene = scene_str, state = scene.state, at = scene.changed, account = scene.account,
    kind = scene.kind, openid = scene.openid, user_id = scene.user_id, is_new = scene.is_new,
    error = scene.error, kiosk = scene['d:kiosk'], sid = scene['d:sid'],
  }))
end

local function remember_debt(scene, was_owed)
  if scene.owed == '1' then
    redis.call('ZADD', debts_key, whole(now), scene_str)
    redis.call('EXPIRE', debts_key, DEBTS_SECONDS)
  elseif was_owed == '1' then
    redis.call('ZREM', debts_key, scene_str)
  end
end

-- ARGV[4]: the move. What is None in Python is missing.
local function advance()
  local move = cjson.decode(ARGV[4])
  local scene = settled()
  -- Before the state: a repeat gets the reply of the first, whatever the scene has become since.
  local outcome_key = move.outcome and KEYS[move.outcome]
  if outcome_key then
    local kept = redis.call('GET', outcome_key)
    if kept then
      return answer('repeated', scene, kept)
    end
  end
  if not scene then
    return answer('unknown')
  end
  local why_not = obstacle(scene, move)
  if why_not then
    return answer(why_not, scene)
  end
  local was_owed, new = scene.owed, changes(scene, move)
  redis.call('HSET', scene_key, unpack(flat(new, move.details)))
  for field, value in pairs(new) do
    scene[field] = value
  end
  for name, value in pairs(move.details) do
    scene['d:' .. name] = value
  end
  expire_at(scene.state, tonumber(scene.ends))
  remember_debt(scene, was_owed)
  -- With the move, never before it: no reply is kept of a login that did not come.
  if outcome_key and move.reply then
    redis.call('SET', outcome_key, move.reply, 'EX', OUTCOME_SECONDS)
  end
  if move.told then
    tell(KEYS[move.told], scene)
  end
  notice(scene.at, scene.seq, 0)
  return answer('moved', scene)
end

-- ARGV[4] to [6]: node, connection and the hash of the watch token. For another token the
-- answer is that of an unknown scene, and nothing is recorded. A connection below 0 is a waiting
-- poll: it replaces none. Another one is a socket, which gets the next number of its scene: the
-- answer has it in place of a reply.
local function attach()
  local scene = settled()
  if not scene or scene.watch ~= ARGV[6] then
    return answer('unknown')
  end
  local entry = ARGV[4] .. '/' .. ARGV[5]
  local kept = without(scene.at, entry)
  kept[#kept + 1] = entry
  -- Recorded, then read: a move after this finds the attachment, and one before it is in the
  -- answer. The newest stay.
  local first = math.max(1, #kept - MOST_ATTACHED + 1)
  local is_socket = tonumber(ARGV[5]) > 0
  local newest = whole(tonumber(scene.newest or 0) + (is_socket and 1 or 0))
  redis.call('HSET', scene_key, 'at', table.concat(kept, ' ', first), 'newest', newest)
  if is_socket then
    notice(scene.at, scene.seq, newest, ARGV[4])
  end
  return answer('moved', scene, newest)
end

-- ARGV[4] to [6]: node, connection and its number, which was attached here before Redis lost it: it
-- goes before all others, and no notice is published. The answer has the newest socket's number.
local function reattach()
  local scene = settled()
  if not scene then
    return answer('unknown')
  end
  local attached, entry = scene.at or '', ARGV[4] .. '/' .. ARGV[5]
  local known = string.find(' ' .. attached .. ' ', ' ' .. entry .. ' ', 1, true)
  if not known and #without(attached, entry) < MOST_ATTACHED then
    redis.call('HSET', scene_key, 'at', entry .. ' ' .. attached)
  end
  local newest = scene.newest or '0'
  if tonumber(newest) < tonumber(ARGV[6]) then
    newest = ARGV[6]
    redis.call('HSET', scene_key, 'newest', newest)
  end
  return answer('moved', scene, newest)
end

local function detach()
  local attached = redis.call('HGET', scene_key, 'at')
  if attached then
    local kept = without(attached, ARGV[4] .. '/' .. ARGV[5])
    redis.call('HSET', scene_key, 'at', table.concat(kept, ' '))
  end
  return 'detached'
end

-- Read a scene that is on the list of debts, and take it off when nothing is owed any more.
local function debt()
  local scene = settled()
  if not scene or scene.owed ~= '1' then
    -- A login that is owed too long fails by time, which tells nothing by itself.
    local failed = scene and scene.state == 'failed'
    if KEYS[3] and failed and redis.call('ZSCORE', debts_key, scene_str) then
      tell(KEYS[3], scene)
    end
    redis.call('ZREM', debts_key, scene_str)
    return answer('unknown')
  end
  return answer('moved', scene)
end

local function read()
  local scene = settled()
  return answer(scene and 'moved' or 'unknown', scene)
end

local todo = {create = create, read = read, advance = advance, attach = attach, reattach = reattach,
              detach = detach, debt = debt}
return todo[ARGV[1]]()
