package explain

import "nmosauthd/agent/wire"

// Advice is what a reason means to an operator, and what to do about it: whole sentences, ASCII, one line each.
type Advice struct {
	Means string
	Do    string // empty if there is nothing to do
}

// AdviceOn returns the advice on a reason; on a value outside the list that on Undecided.
func AdviceOn(r wire.Reason) Advice {
	if int(r) >= wire.Reasons {
		r = wire.Undecided
	}
	return advice[r]
}

// WritingBase is the advice on APINotGranted if no claim can help: when the base of an API is written to.
var WritingBase = Advice{"The base of an API can only be read, and this request writes.",
	"Fix the controller. No claim permits it."}

// aboutToken is the advice on OK if only the token was asked about.
var aboutToken = Advice{Means: "The token is good. Whether its claims permit a request was not asked."}

const (
	firmware = "Fix the device's firmware or web server: its question breaks the protocol (PROTOCOL.md)."
	issuing  = "Fix how the authorization server makes its tokens: see its settings for this client."
	sending  = "Fix the controller: what it sends is not an access token of the authorization server."
	timing   = "Compare the clocks of this device and of the authorization server: both need the right UTC (NTP or " +
		"PTP, without TAI's offset)."
	granting = "Have the authorization server put the missing claim into this client's tokens, and get a new token."
	settings = "If it should be reached, name it in [paths] of the configuration: claims maps it to a claim, public " +
		"lets all read it."
)

var advice = [wire.Reasons]Advice{
	wire.Undecided: {"The daemon reached no decision, so it denied.",
		"This is a fault of the daemon: report it with its log."},

	wire.OK: {"The token is good, and its claims permit this.", ""},
	wire.Public: {"Nobody needs a token for this.", "If it should need one, take it out of [paths] public; an " +
		"API's list at / and /x-nmos and OPTIONS are always open."},
	wire.Observed: {"Observe mode let it pass; enforce would not have.",
		"See \"nmos-authd observe report\" before enforce is switched on."},
	wire.ModeOff: {"Authorization is off: nothing was looked at.",
		"Set mode = \"observe\" to see what enforce would deny, then mode = \"enforce\"."},

	wire.PacketTooLong: {"The question to the daemon was too long, so it is not known what was asked.",
		"If a controller sends so long a request, raise [limits] packet_bytes; else fix the firmware."},
	wire.PacketForm: {"The question to the daemon was not in its form.", firmware},
	wire.PacketVerb: {"The daemon does not know this question: the firmware may be newer than the daemon.",
		firmware},
	wire.PacketText:  {"The question to the daemon held a NUL or was not UTF-8, as no good request is.", firmware},
	wire.PacketName:  {"The question to the daemon held a name that it does not have.", firmware},
	wire.PacketTwice: {"The question to the daemon gave one name twice.", firmware},
	wire.PacketMissing: {"The question to the daemon left out what it is about, such as the method or the target.",
		firmware},
	wire.PacketID: {"The id of the question to the daemon was too long or held control characters.", firmware},
	wire.PacketValue: {"A value of the question to the daemon is not allowed: an access other than read and write, a " +
		"kind, name or scope that is too long or not in its form.",
		firmware},

	wire.Method: {"NMOS APIs do not use this method.",
		"Nothing, if a browser or a scanner sent it; else fix the controller. No claim permits it."},
	wire.AmbiguousPath: {"The path holds what servers read in different ways (//, an encoded slash, a semicolon, .. " +
		"above the root, a raw space, no slash at its start), which is how checks are bypassed.",
		"Fix the controller: it must send a plain path. No claim permits it."},
	wire.PathTooLong: {"The path is longer than this device accepts. No NMOS API has such long paths.",
		"Fix the controller; if a vendor's API has longer ones, raise [limits] path_bytes, which ends at 4096. No " +
			"claim permits it."},
	wire.InventoryPending: {"The daemon does not know the device's resources yet.",
		"It passes once the firmware pushes its inventory (PUT /inventory) or writes [inventory] file; \"nmos-authd " +
			"status\" shows whether it has."},
	wire.WatchLimit: {"As many questions stand (watch-token) as leave room for those that are asked: half of the " +
		"connections, and half of those of one process.",
		"Raise [limits] connections and restart the daemon; until then the firmware ends its WebSockets by " +
			"expires-in."},
	wire.TwoTokens: {"The request carried a token in two places, and the device does not guess which one counts.",
		"Fix the controller: one token a request."},
	wire.EmptyToken: {"The request said Bearer and no token, as a controller does that failed to get one.",
		"See in the controller's log why it got no token."},
	wire.NoToken: {"The request came without a token: the controller does not know of authorization, or its token " +
		"was lost on the way.",
		"Switch authorization on in the controller and register it with the authorization server; a proxy must pass " +
			"on the header Authorization."},

	wire.TokenTooLarge: {"The token is longer than this device reads.",
		"Use wildcards in the claims in place of long lists; or raise [limits] token_bytes, which ends at 16384."},
	wire.TokenMalformed: {"This is not a signed JSON Web Token: it may be an opaque token, cut off, or in quotation " +
		"marks.", sending},
	wire.TokenJSON: {"The token is not valid JSON, or names one member twice.", issuing},
	wire.TokenAlgorithm: {"The token is not signed with RS512, the only algorithm that IS-10 allows.",
		"Set the signature algorithm of access tokens for this client to RS512 in the authorization server."},
	wire.TokenCritical: {"The token demands an extension that this device does not know.", issuing},
	wire.TokenType: {"It is a token of another kind, such as an ID token.",
		"Fix the controller: it must send the access token."},

	wire.IssuerMissing: {"The token does not say who issued it.", issuing},
	wire.IssuerUntrusted: {"The token is of an authorization server that this device does not know.",
		"If that server is yours, announce it by DNS-SD or name it in [authorization] servers or trusted_issuers, as " +
			"its tokens' iss spells it."},
	wire.KeysPending: {"The device has not got the key that signed the token yet, and is fetching its issuer's keys.",
		"It passes by itself once the server can be reached; if not, see \"nmos-authd status\" " +
			"and \"nmos-authd discover\"."},
	wire.KeyUnknown: {"The token was signed with a key that its issuer does not publish, or not any more.",
		"Have the controller get a new token; if that does not help, see whether the server publishes the key that " +
			"it signs with (jwks_uri)."},
	wire.Signature: {"The token was changed on the way, or somebody else made it.",
		"Have the controller get a new token; if it happens again, treat it as an attack and find who sends it."},

	wire.SubjectMissing: {"The token does not say whom it was issued for (sub).",
		"Fix how the authorization server makes its tokens. In Keycloak 25 and later, give the client the client " +
			"scope \"basic\", which brings sub."},
	wire.AudienceMissing: {"The token does not say for which devices it is (aud).", issuing},
	wire.ExpiryMissing:   {"The token does not say when it expires (exp).", issuing},
	wire.TimeForm:        {"A time in the token is not a number.", issuing},
	wire.ClientMissing:   {"The token does not say which client it is for (client_id or azp).", issuing},
	wire.ClientConflict:  {"The token names two clients, in client_id and azp.", issuing},
	wire.ScopeForm:       {"The token's scope is not one string of names with spaces between.", issuing},
	wire.ClockUntrusted: {"The device does not know the time yet, so it cannot tell which tokens have expired.",
		"It passes once NTP or PTP has set the clock; see that the device reaches its time server. [clock] says how " +
			"the clock is trusted."},
	wire.Expired: {"The token has expired: the controller did not get a new one in time.",
		"See in the controller's log why it does not renew its token. If the token should be good " +
			"still, compare the clocks."},
	wire.IssuedLater: {"By this device's clock the token comes from the future.", timing},
	wire.NotYetValid: {"By this device's clock the token is not valid yet.", timing},
	wire.Audience: {"The token is for other devices: none of the names in its aud is this device's.",
		"Have the authorization server put this device into aud, by its name or a pattern such as *.example.com; or " +
			"correct [device] names."},

	wire.ResourceUnknown: {"The firmware asked about a resource, or an access to one, that is not in the device's " +
		"inventory.",
		"Compare the inventory in force (GET /inventory on the admin socket) with the kind and name that were asked " +
			"for. No claim permits it."},
	wire.PathClosed: {"The path is outside /x-nmos, where all is closed until the configuration opens it; public " +
		"opens it for reading only. Or it is a command on a device model that the configuration does not name.",
		settings + " A device model is named in [control] models."},
	wire.PathVersion: {"Below /x-nmos the path is not that of an API and a version such as v1.3.",
		"Fix the controller: it asks for what no NMOS API has. No claim permits it."},
	wire.APINotGranted: {"The token is good, and says nothing about this API.", granting},
	wire.PathNotGranted: {"The token is good and about this API, but does not permit this: reading and writing are " +
		"permitted apart, path by path.", granting},
	wire.SubtreeNotGranted: {"The token grants this object. To read its bulkProperties also shows everything below " +
		"it, which no one specifier of the token covers.",
		"Have the controller ask with ?recurse=false, or have the authorization server grant the object with all " +
			"that is below it."},
	wire.ControlNotGranted: {"Whoever has a control socket (IS-12) can read and change the whole device model, and " +
		"the token does not permit both.",
		"If this client may control the device, have the authorization server put root.* under read and write of " +
			"x-nmos-control into its tokens."},

	wire.OwnToken: {"The firmware got a token of the device's own, as an OAuth client.", ""},
	wire.OwnTokenCaller: {"The process that asked for a token of the device's own may not have one.",
		"If it should, name its user in [client] allow_uids, or its group in [client] group."},
	wire.OwnTokenScope: {"The firmware asked for a token with a scope that the device is not configured for, or it " +
		"is not configured to be an OAuth client at all.",
		"If it needs one, add the scope to [client] scopes; NMOS has registration and events."},
	wire.Administration: {"An administrator changed something on the admin socket, or what was changed ended.", ""},
	wire.OwnTokenPending: {"The device has no token of its own to give: it is being fetched, or could not be had.",
		"It passes by itself if the authorization server can be reached and has the device as a client; the reply's " +
			"detail and \"nmos-authd status\" say what is wrong."},
}
