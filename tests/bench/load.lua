-- The load, as a wrk script: signed webhooks in the manner of Twilio, of which 3 % repeat an earlier one.
--   wrk … -s load.lua URL -- KIND SECRET RUN      KIND: inbound | receipts      RUN: 8 hex digits, new for each start
-- A request is made from its number alone, so load.py knows from the count which events were sent.
-- Signature: base64(HMAC-SHA1(secret, URL + names and values sorted by name)), https://www.twilio.com/docs/usage/security

local ffi = require("ffi")
ffi.cdef [[
  const void *EVP_sha1(void);
  unsigned char *HMAC(const void *, const char *, int, const char *, size_t, unsigned char *, unsigned int *);
  int EVP_EncodeBlock(unsigned char *, const unsigned char *, int);
]]
local crypto = ffi.C -- wrk itself is linked with libcrypto
local digest, digest_length = ffi.new("unsigned char[64]"), ffi.new("unsigned int[1]")
local encoded_digest = ffi.new("unsigned char[64]")

-- 3 of 100 requests repeat what was sent so many requests before: just now and probably still under way,
-- or a little, or long ago. load.py has the same remainders.
local REPEATS = { [33] = 1, [66] = 501, [99] = 5001 }
local ADDRESSES = 100000
-- how many requests a message's delivered comes after its sent
local DELIVERED_AFTER = 400
local OTHER = { "Yes see you tomorrow", "is the shop open on sunday?", "C'est not\195\169, merci" }

local VARIES = {}
local ACCOUNT = "AC0123456789abcdef0123456789abcdef"
local SENDER = "+14155550199"
-- sorted by name, as the signature wants them
local FIELDS = {
  inbound = {
    { "AccountSid", ACCOUNT }, { "ApiVersion", "2010-04-01" }, { "Body", VARIES }, { "From", VARIES },
    { "FromCity", "WASHINGTON" }, { "FromCountry", "US" }, { "FromState", "DC" }, { "FromZip", "20001" },
    { "MessageSid", VARIES }, { "NumMedia", "0" }, { "NumSegments", "1" }, { "SmsMessageSid", VARIES },
    { "SmsSid", VARIES }, { "SmsStatus", "received" }, { "To", SENDER }, { "ToCity", "SAN FRANCISCO" },
    { "ToCountry", "US" }, { "ToState", "CA" }, { "ToZip", "94105" },
  },
  receipts = {
    { "AccountSid", ACCOUNT }, { "ApiVersion", "2010-04-01" }, { "From", SENDER }, { "MessageSid", VARIES },
    { "MessageStatus", VARIES }, { "SmsSid", VARIES }, { "SmsStatus", VARIES }, { "To", VARIES },
  },
}

local function encoded(text)
  return (text:gsub("[^%w%-._]", function(c) return c == " " and "+" or ("%%%02X"):format(c:byte()) end))
end

local function templates(fields, url)
  local body, signed = {}, { (url:gsub("%%", "%%%%")) }
  for _, field in ipairs(fields) do
    local name, value = field[1], field[2]
    body[#body + 1] = name .. "=" .. (value == VARIES and "%s" or encoded(value):gsub("%%", "%%%%"))
    signed[#signed + 1] = name .. (value == VARIES and "%s" or value)
  end
  return table.concat(body, "&"), table.concat(signed)
end

local kind, secret, run, seed, body_template, signed_template
local encoded_text = {}
local headers = { ["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8", ["User-Agent"] = "TwilioProxy/1.1",
  ["Accept"] = "*/*" }
number = 0 -- global, because done() reads it out of this thread

function setup(thread) the_thread = thread end

function init(arguments)
  kind, secret, run = arguments[1], arguments[2], arguments[3]
  seed = tonumber(run, 16) -- else every run would hear from the same people in the same order
  local url = ("%s://%s:%s%s"):format(wrk.scheme, wrk.host, wrk.port, wrk.path)
  body_template, signed_template = templates(FIELDS[kind], url)
  for _, text in ipairs({ "STOP", "START", "HELP", unpack(OTHER) }) do encoded_text[text] = encoded(text) end
end

local function signature(signed)
  crypto.HMAC(crypto.EVP_sha1(), secret, #secret, signed, #signed, digest, digest_length)
  return ffi.string(encoded_digest, crypto.EVP_EncodeBlock(encoded_digest, digest, digest_length[0]))
end

-- the leading digits are scattered, as a provider's ids are: a database does not get them in order
local function id(n) return ("SM%08x%s%016x"):format(n * 2654435761 % 4294967296, run, n) end

local function text_of(percent)
  if percent <= 30 then return "STOP" end
  if percent <= 40 then return "START" end
  if percent <= 45 then return "HELP" end
  return OTHER[percent % #OTHER + 1]
end

local function inbound(n)
  math.randomseed(seed + n)
  local digits = ("1202%07d"):format(2000000 + math.random(0, ADDRESSES - 1))
  local text, sid = text_of(math.random(1, 100)), id(n)
  return body_template:format(encoded_text[text], "%2B" .. digits, sid, sid, sid),
    signed_template:format(text, "+" .. digits, sid, sid, sid)
end

local function receipt(n)
  local message, status = n, "sent"
  if n % 2 == 1 then message, status = n + 1, "delivered" else message = n + DELIVERED_AFTER end
  local sid, digits = id(message), ("1202%07d"):format(2000000 + message / 2 % ADDRESSES)
  return body_template:format(sid, status, sid, status, "%2B" .. digits),
    signed_template:format(sid, status, sid, status, "+" .. digits)
end

function request()
  number = number + 1
  local back = REPEATS[number % 100]
  local event = back and (number > back and number - back or number - 1) or number
  local body, signed
  if kind == "inbound" then body, signed = inbound(event) else body, signed = receipt(event) end
  headers["X-Twilio-Signature"] = signature(signed)
  return wrk.format("POST", wrk.path, headers, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(("\nRESULT %d %d %d %d %d %.3f %.3f\n"):format(the_thread:get("number"), summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, summary.duration, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000))
end
