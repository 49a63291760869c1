#!/bin/sh
# Sets a realm of Keycloak up for NMOS (IS-10), as AMWA INFO-002 describes: configs/SERVERS.md says what it does, step by
# step, and why. It needs curl. What is there already is left as it is, so it may be run again.
set -eu

usage() {
	cat >&2 <<'END'
usage: KEYCLOAK_PASSWORD=... setup.sh --server URL --audience PATTERN [OPTION...]

  --server URL          of Keycloak, such as https://auth.example.com
  --audience PATTERN    which hosts the tokens are for: "*.studio.example.com"; may be given again
  --realm NAME          nmos unless given; it is made if it does not exist
  --user NAME           administrator, admin unless given; the password is taken from the environment
  --ca FILE             PEM file with the root of the server's certificate, if the system does not trust it
  --devices NUMBER      how many devices may register themselves; 500 unless given
  --trusted-host HOST   may register without a token; may be given again. None unless given
  --initial-token FILE  where to write an initial access token, good for so many devices, for 30 days
END
	exit 2
}

server='' realm=nmos user=admin ca='' devices=500 token_file='' audiences='' trusted=''
while [ $# -gt 0 ]; do
	[ $# -gt 1 ] || usage
	case $1 in
	--server) server=${2%/} ;;
	--audience) audiences="$audiences $2" ;;
	--realm) realm=$2 ;;
	--user) user=$2 ;;
	--ca) ca=$2 ;;
	--devices) devices=$2 ;;
	--trusted-host) trusted="$trusted $2" ;;
	--initial-token) token_file=$2 ;;
	*) usage ;;
	esac
	shift 2
done
[ -n "$server" ] && [ -n "$audiences" ] || usage
[ -n "${KEYCLOAK_PASSWORD:-}" ] || { echo "setup.sh: KEYCLOAK_PASSWORD is not set" >&2; exit 2; }
case $realm$devices in *[!A-Za-z0-9._-]*) echo "setup.sh: only letters, digits and ._- in a name" >&2; exit 2 ;; esac
case $audiences$trusted in *[\"\\]*) echo "setup.sh: no quotes in hosts and audiences" >&2; exit 2 ;; esac

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
set -f # an audience may be a pattern

fail() { echo "setup.sh: $*" >&2; exit 1; }

# web ARGUMENT...: the answer's body goes to $work/body, its status to $status. Secrets are in files, never on a command
# line.
web() {
	status=$(curl -sS --max-time 180 ${ca:+--cacert "$ca"} -o "$work/body" -w '%{http_code}' "$@") ||
		fail "no answer from $server"
}

# login gets the administrator's token, which lives for a minute.
login() {
	web -d grant_type=password -d client_id=admin-cli --data-urlencode "username=$user" \
		--data-urlencode "password@$work/password" "$server/realms/master/protocol/openid-connect/token"
	[ "$status" = 200 ] || fail "$user cannot log in: HTTP $status: $(cut -c1-300 "$work/body")"
	sed 's/.*"access_token":"\([^"]*\)".*/Authorization: Bearer \1/' "$work/body" >"$work/auth"
}

# call METHOD PATH: standard input is the JSON to send. A 409 says that it is there already.
call() {
	cat >"$work/json"
	for try in first second; do
		case $1 in
		GET) web -H @"$work/auth" "$server/$2" ;;
		*) web -X "$1" -H @"$work/auth" -H 'Content-Type: application/json' --data-binary @"$work/json" "$server/$2" ;;
		esac
		[ "$status" = 401 ] && [ $try = first ] || break
		login
	done
	case $status in
	2?? | 409) ;;
	*) fail "$1 $2: HTTP $status: $(cut -c1-300 "$work/body")" ;;
	esac
}

get() { call GET "$1" </dev/null; }

# id_of NAME: the id of the object of that name in the list of the last answer; nothing if there is none.
id_of() {
	sed 's/{"id":"/\n&/g' "$work/body" | sed -n "s/^{\"id\":\"\([^\"]*\)\",\"name\":\"$1\".*/\1/p" | head -n 1
}

printf '%s' "$KEYCLOAK_PASSWORD" >"$work/password"
login

# 1. The realm, and RS512 for its tokens.
call POST admin/realms <<END
{"realm":"$realm","enabled":true,"defaultSignatureAlgorithm":"RS512","accessTokenLifespan":300}
END
call PUT "admin/realms/$realm" <<END
{"defaultSignatureAlgorithm":"RS512"}
END

# 2. The RS512 key. Without a provider Keycloak makes one when it signs the first token: until then its key set has none,
# and a device that fetches the set does not know the first token's key.
get "admin/realms/$realm/components?type=org.keycloak.keys.KeyProvider"
[ -n "$(id_of nmos-rs512)" ] || call POST "admin/realms/$realm/components" <<END
{"name":"nmos-rs512","providerId":"rsa-generated","providerType":"org.keycloak.keys.KeyProvider",
"config":{"priority":["200"],"enabled":["true"],"active":["true"],"algorithm":["RS512"],"keySize":["2048"]}}
END

# 3. One client scope for each API, with an audience and the claim. It is optional: a client gets it only if it asks.
audience_mappers() {
	n=0
	for a in $audiences; do
		n=$((n + 1))
		printf '{"name":"audience-%d","protocol":"openid-connect","protocolMapper":"oidc-audience-mapper",' $n
		printf '"config":{"included.custom.audience":"%s","access.token.claim":"true"}},' "$a"
	done
}

# scope API MAPPER: jsonType.label must be JSON; with String, which is the default, the claim is a text in quotes, and
# devices refuse the token.
scope() {
	call POST "admin/realms/$realm/client-scopes" <<END
{"name":"$1","protocol":"openid-connect","attributes":{"include.in.token.scope":"true","display.on.consent.screen":"true"},
"protocolMappers":[$(audience_mappers){"name":"x-nmos-$1","protocol":"openid-connect",$2}]}
END
	get "admin/realms/$realm/client-scopes"
	id=$(id_of "$1")
	[ -n "$id" ] || fail "no client scope $1"
	call PUT "admin/realms/$realm/default-optional-client-scopes/$id" <<END
{"realm":"$realm","clientScopeId":"$id"}
END
}

# by_group API: the claim is an attribute of the group that the user, or the client's service account, is in.
by_group() {
	scope "$1" "\"protocolMapper\":\"oidc-usermodel-attribute-mapper\",\"config\":{\"user.attribute\":\"x-nmos-$1\",
		\"claim.name\":\"x-nmos-$1\",\"jsonType.label\":\"JSON\",\"access.token.claim\":\"true\",\"multivalued\":\"false\"}"
}

# fixed API CLAIM: all who get the scope get the same claim. Quotes in the claim are escaped for JSON within JSON.
fixed() {
	scope "$1" "\"protocolMapper\":\"oidc-hardcoded-claim-mapper\",\"config\":{\"claim.name\":\"x-nmos-$1\",
		\"claim.value\":\"$(printf '%s' "$2" | sed 's/"/\\"/g')\",\"jsonType.label\":\"JSON\",\"access.token.claim\":\"true\"}"
}

# What a device asks for with its own client. It is in no group, since it registers itself.
fixed registration '{"read":["health/nodes/*","resource/*"],"write":["health/nodes/*","resource","resource/*"]}'
fixed events '{"read":["*"]}'
for api in node query connection channelmapping streamcompatibility control configuration; do
	by_group $api
done

# 4. The groups, with the smallest claims for what they do. A value has at most 255 characters.
# group NAME ATTRIBUTES
group() {
	call POST "admin/realms/$realm/groups" <<END
{"name":"$1","attributes":{$2}}
END
}
# attribute API CLAIM
attribute() { printf '"x-nmos-%s":["%s"]' "$1" "$(printf '%s' "$2" | sed 's/"/\\"/g')"; }

reads='{"read":["*"]}'
queries='{"read":["*"],"write":["subscriptions","subscriptions/*"]}'
group nmos-viewers "$(attribute node "$reads"),$(attribute query "$queries"),$(attribute connection "$reads"),
$(attribute channelmapping "$reads")"
group nmos-operators "$(attribute node "$reads"),$(attribute query "$queries"),
$(attribute connection '{"read":["*"],"write":["single/*/staged"]}'),
$(attribute channelmapping '{"read":["*"],"write":["map/activations","map/activations/*"]}')"

# 5. Who may register a device: Max Clients Limit counts all clients of the realm, Keycloak's own ones, too.
get "admin/realms/$realm/components?type=org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
hosts=$(id_of 'Trusted Hosts') most=$(id_of 'Max Clients Limit')
if [ -n "$hosts" ] && [ -n "$trusted" ]; then
	call PUT "admin/realms/$realm/components/$hosts" <<END
{"id":"$hosts","name":"Trusted Hosts","providerId":"trusted-hosts","subType":"anonymous",
"providerType":"org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy",
"config":{"host-sending-registration-request-must-match":["true"],"client-uris-must-match":["true"],
"trusted-hosts":[$(printf '"%s",' $trusted | sed 's/,$//')]}}
END
fi
[ -z "$most" ] || call PUT "admin/realms/$realm/components/$most" <<END
{"id":"$most","name":"Max Clients Limit","providerId":"max-clients","subType":"anonymous",
"providerType":"org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy",
"config":{"max-clients":["$((devices + 20))"]}}
END
if [ -n "$token_file" ]; then
	call POST "admin/realms/$realm/clients-initial-access" <<END
{"count":$devices,"expiration":2592000}
END
	sed 's/.*"token":"\([^"]*\)".*/\1/' "$work/body" >"$token_file"
fi

# What devices will see.
get "realms/$realm/.well-known/openid-configuration"
echo "issuer: $(sed 's/.*"issuer":"\([^"]*\)".*/\1/' "$work/body")"
get "realms/$realm/protocol/openid-connect/certs"
grep -q '"alg":"RS512"' "$work/body" || fail "the key set has no RS512 key"
echo "announce it in DNS-SD with api_selector=realms/$realm"
