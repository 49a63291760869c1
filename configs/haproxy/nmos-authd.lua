-- nmos-authd and HAProxy: asks the daemon about each request before anything else is done with it (http-request
-- lua.nmos_authd). Debian: /etc/haproxy/nmos-authd.lua; haproxy.cfg says the rest. HAProxy's own Lua and HTTP client
-- alone: other requests go on while one waits here.

local socket = "unix@/run/nmos-authd/http.sock" -- HAProxy's user must be in the group that may connect: [sockets] group
local patience = 500                            -- milliseconds for an answer; HAProxy tries four times

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

-- handshake reports whether the device will take this for the handshake of a WebSocket (RFC 6455 §4.2.1): a token in
-- the query counts for no other request.
local function handshake(method, headers)
	local function has(name, word)
		for _, value in pairs(headers[name] or {}) do
			for item in (value .. ","):lower():gmatch("[ \t]*([^,]-)[ \t]*,") do
				if item == word then return true end
			end
		end
		return false
	end
	return method == "GET" and has("connection", "upgrade") and has("upgrade", "websocket")
end

-- origin cuts scheme and authority from a target in absolute form (RFC 9112 §3.2.2).
local function origin(target)
	local rest = target:match("^%a[%w+.-]*://[^/?#]*(.*)$")
	if not rest then return target end
	return rest:sub(1, 1) == "/" and rest or "/" .. rest
end

-- clear takes out what a client wrote in HAProxy's name, or to mislead the device. haproxy.cfg has HAProxy drop names
-- with "_", since X_Auth_Reason is X-Auth-Reason to some.
local function clear(http, headers, upgrade)
	for name in pairs(headers) do
		if misleading[name] or name:find("^x%-auth%-") or name:find("^x%-original%-") or name:find("^x%-rewrite%-") then
			http:req_del_header(name)
		end
	end
	if upgrade then
		http:req_set_header("Upgrade", "websocket")
	else
		http:req_del_header("Upgrade")
	end
end

-- ask returns status, headers (names in lower case) and body of the daemon's answer; nil if there is none.
local function ask(method, target, headers, upgrade)
	local question = { ["x-original-method"] = { method }, ["x-original-uri"] = { target }, ["connection"] = { "close" } }
	if upgrade then question["x-original-upgrade"] = { "websocket" } end
	if headers["authorization"] then
		local values = headers["authorization"] -- from 0 on
		question["authorization"] = table.move(values, 0, #values, 1, {})
	end
	local asked, answer = pcall(function()
		local url = "http://127.0.0.1/authorize" -- dst is where it goes
		return core.httpclient():get { url = url, dst = socket, headers = question, timeout = patience }
	end)
	if not asked or not answer or not answer.status then return nil end
	local said = {}
	for name, values in pairs(answer.headers or {}) do said[name:lower()] = values[0] end
	local unread = answer.status == 400 or answer.status == 431 -- of an HTTP server that reads no further: of no length
	local body = answer.body or ""
	if #body ~= tonumber(said["content-length"] or unread and #body or 0) then return nil end -- it broke off
	return answer.status, said, body
end

local known = { [200] = true, [400] = true, [401] = true, [403] = true, [405] = true, [431] = true, [503] = true }

core.register_action("nmos_authd", { "http-req" }, function(txn)
	local http, headers = txn.http, txn.http:req_get_headers()
	local method, target = txn.f:method(), origin(txn.f:url())
	local upgrade = handshake(method, headers)
	local model = target:find("^/x%-nmos/configuration[/?]") or target == "/x-nmos/configuration" -- IS-14: own errors
	txn:set_var("txn.nmos_own", model
		and '{"status":502,"errorMessage":"the device cannot be reached behind its web server"}'
		or '{"code":502,"error":"the device cannot be reached behind its web server","debug":"haproxy"}')
	clear(http, headers, upgrade)
	if upgrade and own[target:match("^[^?]*")] then
		http:req_set_uri(target)
		txn:set_var("txn.nmos_asked", true)
		return
	end

	local status, said, body = ask(method, target, headers, upgrade)
	local reason = status and said["x-auth-reason"]
	local unread = status == 400 or status == 431 -- the daemon could not read the question: that comes from the client
	if not known[status] or not (reason or unread) then
		txn:log(core.err, "nmos-authd cannot be asked at " .. socket .. ": does it run, and is HAProxy's user in its group?")
		status, said = 503, { ["retry-after"] = "1" }
		body = model and '{"status":503,"errorMessage":"the authorization daemon cannot be asked"}\n'
			or '{"code":503,"error":"Service Unavailable","debug":"the authorization daemon cannot be asked"}\n'
	elseif not reason then
		body = model and '{"status":' .. status .. ',"errorMessage":"the daemon cannot read this request"}\n'
			or '{"code":' .. status .. ',"error":"the daemon cannot read this request","debug":"haproxy"}\n'
	end
	txn:set_var("txn.nmos_reason", reason or "") -- for the access log

	if status ~= 200 then
		local reply = txn:reply { status = status }
		for _, name in ipairs { "WWW-Authenticate", "Retry-After", "Allow" } do
			if said[name:lower()] then reply:add_header(name, said[name:lower()]) end
		end
		reply:add_header("Content-Type", "application/json")
		reply:add_header("Cache-Control", "no-store")
		reply:add_header("Access-Control-Allow-Origin", "*") -- so that a browser's page can read why
		reply:add_header("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, Allow")
		reply:set_body(body)
		txn:set_var("txn.nmos_answered", true)
		txn:done(reply)
	end

	-- The headers that the device may trust, and the path that was judged. Without one (in modes that allow everything, of
	-- a path that cannot be read in one way only) it gets what came.
	for _, name in ipairs { "Reason", "Path", "Client-Id", "Subject", "Expires-In" } do
		local value = said["x-auth-" .. name:lower()]
		if value then http:req_set_header("X-Auth-" .. name, value) end
	end
	local path = said["x-auth-path"]
	http:req_set_uri(path and path .. (target:match("%?.*$") or "") or target)
	txn:set_var("txn.nmos_asked", true) -- HAProxy goes on when a script fails: the next rule denies what lacks this
end)
