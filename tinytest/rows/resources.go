package rows

import (
	"strings"

	"nmosauthd/tinytest/mint"
)

// Inventory is that of a device with a sender, a meter, a vendor's fader and a lamp that all may see.
const Inventory = `{
  "kinds": {"fader": {"read": "/faders/{name}", "write": "/faders/{name}/level"}},
  "resources": [
    {"kind": "sender", "name": "out-1", "id": "6f1e0000-0000-4000-8000-000000000031"},
    {"kind": "meter", "name": "in-1", "id": "6f1e0000-0000-4000-8000-000000000021"},
    {"kind": "meter", "name": 2, "id": "6f1e0000-0000-4000-8000-000000000022"},
    {"kind": "fader", "name": "Röhre 1"},
    {"kind": "lamp", "name": "on-air", "read": "/lamps/{name}", "write": "/lamps/{name}"},
    {"kind": "shutter", "name": "1", "write": "/shutters/1"}
  ]
}`

// Paths that the inventory's resources stand for.
const (
	MeterPath  = "/x-nmos/events/v1.0/sources/6f1e0000-0000-4000-8000-000000000021/state"
	ActivePath = "/x-nmos/connection/v1.1/single/senders/6f1e0000-0000-4000-8000-000000000031/active"
	StagedPath = "/x-nmos/connection/v1.1/single/senders/6f1e0000-0000-4000-8000-000000000031/staged"
	FaderPath  = "/faders/R%C3%B6hre%201"
)

// Resources are questions in the device's own terms. TOKEN, by ResourcesToken, may read all of connection, one meter
// and the faders, and write nothing; the configuration has the faders ruled by the API console, and the lamps public.
var Resources = []struct {
	Name, Lines, Want, Path string
}{
	{"PATH-5/sender-read", "kind=sender\nname=out-1\naccess=read\nauthorization=Bearer TOKEN\n",
		"allow 200 ok", ActivePath},
	{"PATH-5/sender-write", "kind=sender\nname=out-1\naccess=write\nauthorization=Bearer TOKEN\n",
		"deny 403 path-not-granted", StagedPath},
	{"PATH-5/meter", "kind=meter\nname=in-1\naccess=read\nauthorization=Bearer TOKEN\n", "allow 200 ok", MeterPath},
	{"PATH-5/meter-not-granted", "kind=meter\nname=2\naccess=read\nauthorization=Bearer TOKEN\n",
		"deny 403 path-not-granted", strings.Replace(MeterPath, "21/", "22/", 1)},
	{"PATH-11/meter-has-nothing-to-write", "kind=meter\nname=in-1\naccess=write\nauthorization=Bearer TOKEN\n",
		"deny 403 resource-unknown", ""},
	{"PATH-11/nothing-to-read", "kind=shutter\nname=1\naccess=read\nauthorization=Bearer TOKEN\n",
		"deny 403 resource-unknown", ""},
	{"PATH-11/closed-path", "kind=shutter\nname=1\naccess=write\nauthorization=Bearer TOKEN\n",
		"deny 403 path-closed", "/shutters/1"},
	{"PATH-11/vendor-claim",
		"kind=fader\nname=Röhre 1\naccess=read\nauthorization=Bearer TOKEN\n", "allow 200 ok", FaderPath},
	{"PATH-11/vendor-claim-not-granted", "kind=fader\nname=Röhre 1\naccess=write\nauthorization=Bearer TOKEN\n",
		"deny 403 path-not-granted", FaderPath + "/level"},
	{"PATH-11/vendor-no-token", "kind=fader\nname=Röhre 1\naccess=read\n", "deny 401 no-token", FaderPath},
	{"PATH-11/public", "kind=lamp\nname=on-air\naccess=read\n", "allow 200 public", "/lamps/on-air"},
	{"PATH-11/unknown", "kind=meter\nname=in-9\naccess=read\nauthorization=Bearer TOKEN\n",
		"deny 403 resource-unknown", ""},
	{"PATH-11/unknown-kind", "kind=metre\nname=in-1\naccess=read\nauthorization=Bearer TOKEN\n",
		"deny 403 resource-unknown", ""},
	{"PATH-11/another-case", "kind=meter\nname=In-1\naccess=read\nauthorization=Bearer TOKEN\n",
		"deny 403 resource-unknown", ""},
	{"PATH-11/the-name-encoded", "kind=fader\nname=R%C3%B6hre%201\naccess=read\nauthorization=Bearer TOKEN\n",
		"deny 403 resource-unknown", ""},
	// nobody learns which there are
	{"PATH-11/unknown-without-token", "kind=meter\nname=in-9\naccess=read\n", "deny 401 no-token", ""},
	{"ANS-1/no-token", "kind=meter\nname=in-1\naccess=read\n", "deny 401 no-token", MeterPath},
	{"ANS-1/another-scheme", "kind=meter\nname=in-1\naccess=read\nauthorization=Basic eA==\n",
		"deny 401 no-token", MeterPath},
	{"ANS-2/malformed", "kind=meter\nname=in-1\naccess=read\nauthorization=Bearer x\n",
		"deny 401 token-malformed", MeterPath},
	{"ANS-4/empty-token", "kind=meter\nname=in-1\naccess=read\nauthorization=Bearer \n",
		"deny 400 token-empty", MeterPath},
	{"ANS-4/two-tokens", "kind=meter\nname=in-1\naccess=read\nauthorization=Bearer TOKEN, Bearer TOKEN\n",
		"deny 400 two-tokens", MeterPath},
	{"ANS-4/access", "kind=meter\nname=in-1\naccess=delete\nauthorization=Bearer TOKEN\n",
		"error 400 packet-value", ""},
	{"ANS-4/target", "kind=meter\nname=in-1\naccess=read\ntarget=/x-nmos\n", "error 400 packet-name", ""},
}

// ResourcesToken is what TOKEN stands for in Resources.
var ResourcesToken = mint.Options{Permissions: map[string]mint.Permission{
	"connection": {Read: []string{"*"}},
	"events":     {Read: []string{"sources/6f1e0000-0000-4000-8000-000000000021/*"}},
	"console":    {Read: []string{"*"}},
}}
