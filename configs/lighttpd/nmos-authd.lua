-- nmos-authd and lighttpd: asks the daemon about each request before anything else looks at it
-- (magnet.attract-raw-url-to). Debian: /etc/lighttpd/nmos-authd.lua; nmos-authd.conf says the rest. Needs luv (Debian:
-- lua-luv) for lighttpd's Lua. LuaSocket will not do: it and lighttpd have functions of one name (buffer_init), so that
-- lighttpd crashes.
--
-- lighttpd waits while this script asks: some ten microseconds as a rule, and no longer than the time below.

local socket = "/run/nmos-authd/http.sock" -- lighttpd's user must be in the group that may connect: [sockets] group
local patience = 500                       -- milliseconds for an answer

-- Paths of WebSockets whose handshakes are handed to the firmware without asking. ONLY for firmware that asks the daemon itself whenever a request
-- comes without X-Auth-Reason. { ["/x-nmos/events/v1.0/ws"] = true }: then a token that grants the sources of the IS-07
-- WebSocket, and not the socket's own path, opens it as it should.
local own = {}

local r = lighty.r
local headers = r.req_header

-- handshake reports whether the device will take this for the handshake of a WebSocket (RFC 6455 §4.2.1): a token in the
-- query counts for no other request.
local function handshake()
	local function has(name, word)
		for item in ((headers[name] or "") .. ","):lower():gmatch("[ \t]*([^,]-)[ \t]*,") do
			if item == word then return true end
		end
		return false
	end
	return r.req_attr["request.method"] == "GET" and has("Connection", "upgrade") and has("Upgrade", "websocket")
end

-- unanswered leaves a line in lighttpd's error log.
local function unanswered(why)
	print("nmos-authd cannot be asked at " .. socket .. ": " .. why)
end

-- exchange sends a request over the socket and returns all that comes back until the daemon ends the connection; nil
-- where that fails or takes too long.
local function exchange(request)
	local found, uv = pcall(require, "luv")
	if not found then
		unanswered("lighttpd's Lua finds no luv")
		return nil
	end
	local answer, ended, late = {}, false, false
	local pipe, clock = uv.new_pipe(false), uv.new_timer()
	local function failed(why)
		unanswered(why or "no answer in time")
		late = true
	end
	uv.update_time() -- or the clock starts when luv was last used
	clock:start(patience, 0, failed)
	pipe:connect(socket, function(err)
		if err then return failed(err) end
		pipe:write(request)
		pipe:read_start(function(err, text)
			if err then return failed(err) end
			answer[#answer + 1], ended = text, text == nil
		end)
	end)
	while not (ended or late) do uv.run("once") end
	pipe:close()
	clock:close()
	uv.run("nowait") -- lets go of both
	return not late and table.concat(answer) or nil
end

-- send returns status, headers (names in lower case) and body of the daemon's answer to a request; nil if there is none.
local function send(lines)
	for _, line in ipairs(lines) do
		if line:find("[%z\r\n]") then return nil end -- would be another request
	end
	local answer = exchange(table.concat(lines, "\r\n") .. "\r\n\r\n")
	local head, body = (answer or ""):match("^(.-\r\n)\r\n(.*)$")
	local status = head and head:match("^HTTP/1%.1 (%d%d%d) ")
	if not status then return nil end
	local said = {}
	for name, value in head:gmatch("\n([^:\r\n]+): *([^\r\n]*)") do said[name:lower()] = value end
	status = tonumber(status)
	local unread = status == 400 or status == 431 -- of an HTTP server that reads no further: to its end, and of no length
	if #body ~= tonumber(said["content-length"] or unread and #body or 0) then return nil end -- it broke off
	return status, said, body
end

-- ask asks about the request.
local function ask(upgrade)
	local lines = {
		"GET /authorize HTTP/1.1", "Host: nmos-authd", "Connection: close",
		"X-Original-Method: " .. r.req_attr["request.method"],
		"X-Original-URI: " .. r.req_attr["request.orig-uri"], -- as it came, not lighttpd's reading of it
	}
	if headers["Authorization"] then lines[#lines + 1] = "Authorization: " .. headers["Authorization"] end
	if upgrade then lines[#lines + 1] = "X-Original-Upgrade: websocket" end
	return send(lines)
end

-- The device's own public keys, for [client] jwks_uri: anybody may read them, and the daemon says so itself.
if r.req_attr["request.orig-uri"]:match("^[^?]*") == "/x-nmos-authd/jwks" then
	local method = r.req_attr["request.method"]
	if method == "HEAD" then method = "GET" end -- lighttpd leaves the body out
	local status, said, body = send { method .. " /jwks HTTP/1.1", "Host: nmos-authd", "Connection: close" }
	if not status then return 503 end
	for _, name in ipairs { "Content-Type", "Cache-Control", "Allow" } do
		if said[name:lower()] then r.resp_header[name] = said[name:lower()] end
	end
	r.resp_body.set(body)
	return status
end

-- Headers that some HTTP servers take for the method or the path: the device would do another thing than was judged.
local misleading = {}
for _, name in ipairs { "x-http-method-override", "x-http-method", "x-method-override", "x-rewrite-url", "x-rewrite-uri",
	"x-override-url", "x-request-url", "x-request-uri", "x-forwarded-method", "x-forwarded-url", "x-forwarded-uri",
	"x-forwarded-path", "x-forwarded-prefix", "x-envoy-original-path", "trailer" } do
	misleading[name] = true
end

-- clear takes out what a client wrote to mislead the device. To some servers X_Auth_Reason is X-Auth-Reason.
local function clear()
	local found = {}
	for name in pairs(headers) do
		local lower = name:lower()
		if misleading[lower] or lower:find("_", 1, true) or lower:find("^x%-original%-") then found[#found + 1] = name end
	end
	for _, name in ipairs(found) do headers[name] = "" end
end

-- hand gives the request to the device, with headers that it may trust, and none of these from the client.
local function hand(said, upgrade)
	clear()
	for _, name in ipairs { "Reason", "Path", "Client-Id", "Subject", "Expires-In", "Would", "Error" } do
		headers["X-Auth-" .. name] = said["x-auth-" .. name:lower()] or ""
	end
	headers["Upgrade"] = upgrade and "websocket" or ""
	r.req_attr["uri.query"] = "" -- lighttpd quotes it in its errors; the device gets the query with the target
	return nil
end

local upgrade = handshake()
if upgrade and own[r.req_attr["request.orig-uri"]:match("^[^?]*")] then return hand({}, upgrade) end
local status, said, body = ask(upgrade)
local known = { [200] = true, [400] = true, [401] = true, [403] = true, [405] = true, [431] = true, [503] = true }
local unread = status == 400 or status == 431 -- the daemon could not read the question: that comes from what the client sent
local model = r.req_attr["uri.path"]:match("^/x%-nmos/configuration(.?)") -- the errors of IS-14's API have a body of their own
model = model == "" or model == "/"
if not known[status] or not (said["x-auth-reason"] or unread) then
	status, said = 503, { ["retry-after"] = "1", ["x-auth-reason"] = "" }
	body = model and '{"status":503,"errorMessage":"the authorization daemon cannot be asked"}\n'
		or '{"code":503,"error":"Service Unavailable","debug":"the authorization daemon cannot be asked"}\n'
elseif unread and not said["x-auth-reason"] then
	body = model and '{"status":' .. status .. ',"errorMessage":"the daemon cannot read this request"}\n'
		or '{"code":' .. status .. ',"error":"the daemon cannot read this request","debug":"lighttpd"}\n'
end
r.req_env["NMOS_REASON"] = said["x-auth-reason"] or "" -- for the access log

if status ~= 200 then
	for _, name in ipairs { "WWW-Authenticate", "Retry-After", "Allow" } do
		if said[name:lower()] then r.resp_header[name] = said[name:lower()] end
	end
	r.resp_header["Content-Type"] = "application/json"
	r.resp_header["Cache-Control"] = "no-store"
	r.resp_header["Access-Control-Allow-Origin"] = "*" -- so that a browser's page can read why
	r.resp_header["Access-Control-Expose-Headers"] = "WWW-Authenticate, Retry-After, Allow"
	r.resp_body.set(body)
	return status
end

-- The device gets the path that was judged, and lighttpd looks for it, too. Without one (in modes that allow everything, of
-- a path that cannot be read in one way only) it gets what came.
local path = said["x-auth-path"]
if path then
	local query = r.req_attr["request.uri"]:match("%?.*$") or ""
	if r.req_attr["request.uri"] ~= path .. query then
		r.req_attr["request.uri"] = path .. query
		return lighty.RESTART_REQUEST -- asks again, about the same, since request.orig-uri stays
	end
end

return hand(said, upgrade)
