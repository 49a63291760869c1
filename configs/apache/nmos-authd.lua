-- nmos-authd and Apache: asks the daemon about each request before anything else is done with it (LuaQuickHandler).
-- Debian: /etc/apache2/nmos-authd.lua; nmos-authd.conf says the rest. Needs LuaSocket (Debian: lua-socket). The
-- thread of the request waits for the answer, and no other.

local OK, DECLINED = 0, -1 -- of Apache's httpd.h; a hook that returns no number is an error 500
local path = "/run/nmos-authd/http.sock" -- Apache's user must be in the group that may connect: [sockets] group
local patience = 2                       -- seconds for an answer

-- Paths of WebSockets whose handshakes are handed to the firmware without asking. ONLY for firmware that asks the
-- daemon itself whenever a request comes without X-Auth-Reason. { ["/x-nmos/events/v1.0/ws"] = true }: then a token
-- that grants the sources of the IS-07 WebSocket, and not the socket's own path, opens it as it should.
local own = {}

-- Headers that some HTTP servers take for the method or the path: the device would do another thing than was judged.
local misleading = {}
for _, name in ipairs { "x-http-method-override", "x-http-method", "x-method-override", "x-override-url",
	"x-request-url", "x-request-uri", "x-forwarded-method", "x-forwarded-url", "x-forwarded-uri",
	"x-forwarded-path", "x-forwarded-prefix", "x-envoy-original-path", "trailer" } do
	misleading[name] = true
end

-- has reports whether a list in a header has a word.
local function has(list, word)
	for item in ((list or "") .. ","):lower():gmatch("[ \t]*([^,]-)[ \t]*,") do
		if item == word then return true end
	end
	return false
end

-- origin cuts scheme and authority from a target in absolute form (RFC 9112 §3.2.2).
local function origin(target)
	local rest = target:match("^%a[%w+.-]*://[^/?#]*(.*)$")
	if not rest then return target end
	return rest:sub(1, 1) == "/" and rest or "/" .. rest
end

-- clear takes out what a client wrote in Apache's name, or to mislead the device. To some servers X_Auth_Reason is
-- X-Auth-Reason. Of Connection stays what Apache reads itself: it would take out of the request what else is named
-- there.
local function clear(r, upgrade)
	local headers = r.headers_in
	for name in pairs(r:headers_in_table()) do
		local lower = name:lower()
		if misleading[lower] or lower:find("_", 1, true) or lower:find("^x%-auth%-") or lower:find("^x%-original%-")
			or lower:find("^x%-rewrite%-") then
			headers[name] = nil
		end
	end
	headers["Connection"] = upgrade and "Upgrade" or has(headers["Connection"], "close") and "close" or nil
	headers["Upgrade"] = upgrade and "websocket" or nil
end

-- send returns status, headers (names in lower case) and body of the daemon's answer to a request, or why there is
-- none.
local function send(lines)
	for _, line in ipairs(lines) do
		if line:find("[%z\r\n]") then return nil, "a line in a line" end -- would be another request
	end
	local found, unix = pcall(require, "socket.unix")
	if not found then return nil, "Apache's Lua finds no LuaSocket" end
	local conn = unix.stream()
	conn:settimeout(patience, "t") -- for all of it
	local done, why = conn:connect(path)
	if done then done, why = conn:send(table.concat(lines, "\r\n") .. "\r\n\r\n") end
	local answer, late, part
	if done then answer, late, part = conn:receive("*a") end -- until the daemon ends the connection
	conn:close()
	if not done then return nil, why end
	local head, body = (answer or part or ""):match("^(.-\r\n)\r\n(.*)$")
	local status = tonumber(head and head:match("^HTTP/1%.1 (%d%d%d) "))
	if not answer or not status then return nil, late or "no HTTP" end
	local said = {}
	for name, value in head:gmatch("\n([^:\r\n]+): *([^\r\n]*)") do said[name:lower()] = value end
	local unread = status == 400 or status == 431 -- of an HTTP server that reads no further: of no length
	if #body ~= tonumber(said["content-length"] or unread and #body or 0) then return nil, "the answer broke off" end
	return status, said, body
end

-- answer sends a response of Apache's own.
local function answer(r, status, said, names, body)
	r.status = status
	for _, name in ipairs(names) do
		if said[name:lower()] then r.err_headers_out[name] = said[name:lower()] end
	end
	r.content_type = said["content-type"] or "application/json"
	r.err_headers_out["Cache-Control"] = said["cache-control"] or "no-store"
	r.err_headers_out["Access-Control-Allow-Origin"] = "*" -- so that a browser's page can read why
	r.err_headers_out["Access-Control-Expose-Headers"] = "WWW-Authenticate, Retry-After, Allow"
	r:puts(body)
	return OK
end

local unasked = '{"code":503,"error":"Service Unavailable","debug":"the authorization daemon cannot be asked"}\n'
local known = { [200] = true, [400] = true, [401] = true, [403] = true, [405] = true, [431] = true, [503] = true }

-- handle is what LuaQuickHandler calls. Whatever it returns but DECLINED, Apache hands over nothing.
function handle(r)
	local method, target = r.method, origin(r.unparsed_uri) -- as it came, not Apache's reading of it
	local model = target:find("^/x%-nmos/configuration[/?]") or target == "/x-nmos/configuration" -- IS-14: own errors

	-- ErrorDocument of nmos-authd.conf: the device cannot be reached.
	if r.subprocess_env["REDIRECT_STATUS"] then
		return answer(r, 502, {}, {}, model
			and '{"status":502,"errorMessage":"the device cannot be reached behind its web server"}\n'
			or '{"code":502,"error":"the device cannot be reached behind its web server","debug":"apache"}\n')
	end

	-- The device's own public keys, for [client] jwks_uri: anybody may read them, and the daemon says so itself.
	if target:match("^[^?]*") == "/x-nmos-authd/jwks" then
		if method == "HEAD" then method = "GET" end -- Apache leaves the body out
		local status, said, body = send { method .. " /jwks HTTP/1.1", "Host: nmos-authd", "Connection: close" }
		if not status then status, said, body = 503, { ["retry-after"] = "1" }, unasked end
		return answer(r, status, said, { "Allow", "Retry-After" }, body)
	end

	local headers = r.headers_in
	local upgrade = method == "GET" and has(headers["Connection"], "upgrade") and has(headers["Upgrade"], "websocket")
	clear(r, upgrade) -- a token in the query counts for a handshake (RFC 6455 §4.2.1) and for no other request
	if upgrade and own[target:match("^[^?]*")] then return DECLINED end

	local lines = { "GET /authorize HTTP/1.1", "Host: nmos-authd", "Connection: close", "X-Original-Method: " .. method,
		"X-Original-URI: " .. target }
	if headers["Authorization"] then lines[#lines + 1] = "Authorization: " .. headers["Authorization"] end
	if upgrade then lines[#lines + 1] = "X-Original-Upgrade: websocket" end
	local status, said, body = send(lines)
	local reason = status and said["x-auth-reason"]
	local unread = status == 400 or status == 431 -- the daemon could not read the question: that comes from the client
	if not known[status] or not (reason or unread) then
		r:err("nmos-authd cannot be asked at " .. path .. ": " .. (status or said))
		status, said = 503, { ["retry-after"] = "1" }
		body = model and '{"status":503,"errorMessage":"the authorization daemon cannot be asked"}\n' or unasked
	elseif not reason then
		said = {}
		body = model and '{"status":' .. status .. ',"errorMessage":"the daemon cannot read this request"}\n'
			or '{"code":' .. status .. ',"error":"the daemon cannot read this request","debug":"apache"}\n'
	end
	r.subprocess_env["NMOS_REASON"] = reason or "" -- for the access log
	if status ~= 200 then return answer(r, status, said, { "WWW-Authenticate", "Retry-After", "Allow" }, body) end

	-- The headers that the device may trust. It gets the target as the client spelt it (ProxyPass with nocanon).
	for _, name in ipairs { "Reason", "Path", "Client-Id", "Subject", "Expires-In" } do
		headers["X-Auth-" .. name] = said["x-auth-" .. name:lower()]
	end
	return DECLINED
end
