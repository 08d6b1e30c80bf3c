-- The load of look-ups, as a wrk script: pages of known browsers, as the Web SDK asks.
--   wrk … -s lookups.lua URL -- SUBSCRIBERS SEED

local subscribers
local before = '{"meta":{"state":{"domain":"example.com","cookiesEnabled":true,"entries":[]}},"query":{"identity":{"fetch":["ECID"]}},"xdm":{"identityMap":{"ECID":[{"id":"'
local after = '","primary":true}]}},"events":[{"xdm":{"eventType":"decisioning.propositionFetch","web":{"webPageDetails":{"URL":"https://www.example.com/shoes?size=42"},"webReferrer":{"URL":""}},"device":{"screenHeight":1080,"screenWidth":1920,"screenOrientation":"landscape"},"environment":{"type":"browser","browserDetails":{"viewportWidth":1280,"viewportHeight":720}},"placeContext":{"localTime":"2026-11-27T17:18:00.000+01:00","localTimezoneOffset":-60},"timestamp":"2026-11-27T16:18:00.000Z","implementationDetails":{"name":"https://ns.adobe.com/experience/alloy","version":"2.32.0","environment":"browser"}},"query":{"personalization":{"schemas":["https://ns.adobe.com/personalization/html-content-item"],"decisionScopes":["__view__"]}}}]}'
local headers = { ["Content-Type"] = "text/plain; charset=UTF-8", ["Origin"] = "https://www.example.com",
  ["Accept"] = "*/*", ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" }

function init(arguments)
  subscribers = tonumber(arguments[1])
  math.randomseed(tonumber(arguments[2]))
end

function request()
  local ecid = ("%038d"):format(math.random(1, subscribers))
  return wrk.format("POST", nil, headers, before .. ecid .. after)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(("\nRESULT %d %d %d %d %.3f %.3f\n"):format(summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, summary.duration, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000))
end
