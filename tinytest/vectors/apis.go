package vectors

import "strings"

// The requests of each API, as a controller, a registry and a monitor send them.
func (b *builder) apis() {
	b.begin("apis", "Each NMOS API's own requests, with tokens as their users have them.")
	b.setting("apis", "")
	const id = "5f7f3f4c-1f7b-4a5e-9f5f-2f1d6a905f0e"
	type row struct{ name, method, path, reason string }
	add := func(prefix, base, token string, rows ...row) {
		for _, r := range rows {
			rule := "PATH-5"
			switch {
			case r.method == "OPTIONS":
				rule = "PATH-2"
			case strings.HasSuffix(r.path, "transportfile"):
				rule = "PATH-13"
			case r.path == "":
				rule = "PATH-4"
			}
			b.ask(prefix, "permission", token,
				ask{r.name, rule, r.method, base + r.path, r.reason, nil})
		}
	}
	const no, none = "path-not-granted", "api-not-granted"

	monitor := b.permitting("", "node=self devices* senders* receivers*")
	add("is04-node-", "/x-nmos/node/v1.3/", monitor,
		row{"base", "GET", "", "ok"},
		row{"self", "GET", "self", "ok"},
		row{"devices", "GET", "devices", "ok"},
		row{"device", "GET", "devices/" + id, "ok"},
		row{"senders", "GET", "senders/", "ok"},
		row{"sender", "HEAD", "senders/" + id, "ok"},
		row{"sources", "GET", "sources", no},
		row{"flows", "GET", "flows/" + id, no},
		row{"receiver-target", "PUT", "receivers/" + id + "/target", no},
		row{"self-patch", "PATCH", "self", no},
		row{"self-options", "OPTIONS", "self", "public"},
		row{"selfish", "GET", "selfish", no},
		row{"self-below", "GET", "self/clocks", no},
		row{"delete", "DELETE", "devices/" + id, no},
	)
	add("is04-node-old-", "/x-nmos/node/v1.0/", monitor,
		row{"self", "GET", "self", "ok"},
		row{"target", "PUT", "receivers/" + id + "/target", no},
	)
	add("is04-target-", "/x-nmos/node/v1.2/", b.permitting("", "node=|receivers/*/target"),
		row{"put", "PUT", "receivers/" + id + "/target", "ok"},
		row{"get", "GET", "receivers/" + id + "/target", no},
		row{"put-receiver", "PUT", "receivers/" + id, no},
		row{"put-slash", "PUT", "receivers/" + id + "/target/", "ok"},
	)

	node := b.permitting("registration", "registration=resource* health*|resource health/nodes/"+id+" resource/*/"+id)
	add("is04-registration-", "/x-nmos/registration/v1.3/", node,
		row{"base", "GET", "", "ok"},
		row{"post", "POST", "resource", "ok"},
		row{"get", "GET", "resource/nodes/" + id, "ok"},
		row{"delete", "DELETE", "resource/senders/" + id, "ok"},
		row{"delete-other", "DELETE", "resource/senders/11111111-1111-4111-8111-111111111111", no},
		row{"heartbeat", "POST", "health/nodes/" + id, "ok"},
		row{"heartbeat-other", "POST", "health/nodes/11111111-1111-4111-8111-111111111111", no},
		row{"heartbeat-read", "GET", "health/nodes/" + id, "ok"},
		row{"other-api", "GET", "nodes", no},
	)
	add("is04-registration-scope-", "/x-nmos/registration/v1.3/", b.permitting("registration"),
		row{"base", "GET", "", "ok"},
		row{"post", "POST", "resource", no},
	)

	reader := b.permitting("query", "query=nodes* devices* subscriptions|subscriptions")
	add("is04-query-", "/x-nmos/query/v1.3/", reader,
		row{"base", "GET", "", "ok"},
		row{"nodes", "GET", "nodes", "ok"},
		row{"nodes-filter", "GET", "nodes?label=amp&paging.limit=10", "ok"},
		row{"nodes-rql", "GET", "nodes?query.rql=eq(label%2Camp)", "ok"},
		row{"node", "GET", "nodes/" + id, "ok"},
		row{"senders", "GET", "senders", no},
		row{"subscribe", "POST", "subscriptions", "ok"},
		row{"subscription", "GET", "subscriptions/" + id, no},
		row{"subscription-delete", "DELETE", "subscriptions/" + id, no},
		row{"subscriptions", "GET", "subscriptions", "ok"},
	)
	socket := func(name, rule, token, target, reason string) {
		b.add(Case{Name: "socket-" + name, Rule: rule, Part: "permission", Token: token,
			Request: Request{Scheme: "wss", Target: target, Upgrade: "websocket"}}, reason)
	}
	everything := b.permitting("", "query=*")
	socket("query-subscription", "PATH-14", reader, "/x-nmos/query/v1.3/subscriptions/"+id+"?access_token={token}", no)
	socket("query-subscription-with-star", "PATH-14", everything,
		"/x-nmos/query/v1.3/subscriptions/"+id+"?access_token={token}", "ok")
	socket("query-resource-path", "PATH-14", reader, "/x-nmos/query/v1.3/nodes?access_token={token}", "ok")
	socket("query-resource-path-not", "PATH-14", reader, "/x-nmos/query/v1.3/flows?access_token={token}", no)
	socket("query-everything", "PATH-14", reader, "/x-nmos/query/v1.3/?access_token={token}", no)
	socket("query-everything-with-star", "PATH-14", everything, "/x-nmos/query/v1.3/?access_token={token}", "ok")
	socket("query-write-star", "PATH-14", b.permitting("", "query=|*"), "/x-nmos/query/v1.3/?access_token={token}", no)

	panel := b.permitting("connection", "connection=single/receivers/*|single/receivers/"+id+"/staged")
	add("is05-", "/x-nmos/connection/v1.1/", panel,
		row{"base", "GET", "", "ok"},
		row{"receivers", "GET", "single/receivers/", "ok"},
		row{"receiver", "GET", "single/receivers/" + id, "ok"},
		row{"active", "GET", "single/receivers/" + id + "/active", "ok"},
		row{"constraints", "GET", "single/receivers/" + id + "/constraints", "ok"},
		row{"transporttype", "GET", "single/receivers/" + id + "/transporttype", "ok"},
		row{"staged", "GET", "single/receivers/" + id + "/staged", "ok"},
		row{"patch-staged", "PATCH", "single/receivers/" + id + "/staged", "ok"},
		row{"patch-staged-slash", "PATCH", "single/receivers/" + id + "/staged/", "ok"},
		row{"patch-staged-of-other", "PATCH", "single/receivers/11111111-1111-4111-8111-111111111111/staged", no},
		row{"patch-active", "PATCH", "single/receivers/" + id + "/active", no},
		row{"id-in-capitals", "PATCH", "single/receivers/" + strings.ToUpper(id) + "/staged", no},
		row{"senders", "GET", "single/senders", no},
		row{"transportfile-of-sender", "GET", "single/senders/" + id + "/transportfile", no},
		row{"bulk", "POST", "bulk/receivers", no},
		row{"bulk-read", "GET", "bulk/receivers", no},
		row{"single", "GET", "single", no},
		row{"bulk-options", "OPTIONS", "bulk/receivers", "public"},
	)
	add("is05-sender-", "/x-nmos/connection/v1.0/", b.permitting("", "connection=single/senders/"+id+"*|bulk/senders"),
		row{"itself", "GET", "single/senders/" + id, "ok"},
		row{"transportfile", "GET", "single/senders/" + id + "/transportfile", "ok"},
		row{"transportfile-head", "HEAD", "single/senders/" + id + "/transportfile", "ok"},
		row{"of-longer-id", "GET", "single/senders/" + id + "0/active", "ok"},
		row{"bulk", "POST", "bulk/senders", "ok"},
		row{"bulk-receivers", "POST", "bulk/receivers", no},
		row{"staged", "PATCH", "single/senders/" + id + "/staged", no},
		row{"list", "GET", "single/senders", no},
	)
	add("is05-transportfile-", "/x-nmos/connection/v1.1/",
		b.permitting("", "connection=single/senders/*/transportfile"),
		row{"alone", "GET", "single/senders/" + id + "/transportfile", "ok"},
		row{"not-the-sender", "GET", "single/senders/" + id, no},
		row{"not-active", "GET", "single/senders/" + id + "/active", no},
	)

	meters := b.permitting("events", "events=sources/"+id+" sources/"+id+"/*")
	add("is07-", "/x-nmos/events/v1.0/", meters,
		row{"base", "GET", "", "ok"},
		row{"source", "GET", "sources/" + id, "ok"},
		row{"state", "GET", "sources/" + id + "/state", "ok"},
		row{"type", "GET", "sources/" + id + "/type/", "ok"},
		row{"other-source", "GET", "sources/11111111-1111-4111-8111-111111111111/state", no},
		row{"sources", "GET", "sources/", no},
		row{"longer-id", "GET", "sources/" + id + "0", no},
		row{"write", "PUT", "sources/" + id + "/state", no},
	)
	socket("events-source", "PATH-5", meters, "/x-nmos/events/v1.0/sources/"+id+"?access_token={token}", "ok")
	socket("events-other-source", "PATH-5", meters,
		"/x-nmos/events/v1.0/sources/11111111-1111-4111-8111-111111111111?access_token={token}", no)
	socket("events-base", "PATH-4", meters, "/x-nmos/events/v1.0/?access_token={token}", "ok")

	router := b.permitting("channelmapping", "channelmapping=*|map/activations*")
	add("is08-", "/x-nmos/channelmapping/v1.0/", router,
		row{"base", "GET", "", "ok"},
		row{"io", "GET", "io", "ok"},
		row{"inputs", "GET", "inputs", "ok"},
		row{"caps", "GET", "inputs/input0/caps", "ok"},
		row{"outputs", "GET", "outputs/stereo/sourceid", "ok"},
		row{"active", "GET", "map/active", "ok"},
		row{"activate", "POST", "map/activations", "ok"},
		row{"activation-delete", "DELETE", "map/activations/1", "ok"},
		row{"active-write", "POST", "map/active", no},
		row{"input-write", "PATCH", "inputs/input0", no},
	)
	add("is08-one-output-", "/x-nmos/channelmapping/v1.0/", b.permitting("", "channelmapping=outputs/stereo/*"),
		row{"it", "GET", "outputs/stereo/channels", "ok"},
		row{"another", "GET", "outputs/surround/channels", no},
		row{"map", "GET", "map/active/stereo", no},
	)

	for _, token := range []string{b.permitting("node", "node=*")} {
		add("is09-", "/x-nmos/system/v1.0/", token,
			row{"global-without-claim", "GET", "global", none},
			row{"base-without-claim", "GET", "", none},
			row{"options", "OPTIONS", "global", "public"},
		)
	}
	add("is09-granted-", "/x-nmos/system/v1.0/", b.permitting("", "system=global"),
		row{"global", "GET", "global", "ok"},
		row{"other", "GET", "other", no},
		row{"put", "PUT", "global", no},
	)

	compat := b.permitting("", "streamcompatibility=*|senders/"+id+"/constraints/active inputs/*/edid/base")
	add("is11-", "/x-nmos/streamcompatibility/v1.0/", compat,
		row{"base", "GET", "", "ok"},
		row{"status", "GET", "senders/" + id + "/status", "ok"},
		row{"supported", "GET", "senders/" + id + "/constraints/supported", "ok"},
		row{"constrain", "PUT", "senders/" + id + "/constraints/active", "ok"},
		row{"release", "DELETE", "senders/" + id + "/constraints/active", "ok"},
		row{"constrain-other", "PUT", "senders/11111111-1111-4111-8111-111111111111/constraints/active", no},
		row{"edid", "PUT", "inputs/1/edid/base", "ok"},
		row{"edid-delete", "DELETE", "inputs/1/edid/base", "ok"},
		row{"edid-effective", "PUT", "inputs/1/edid/effective", no},
		row{"edid-read", "GET", "inputs/1/edid/effective", "ok"},
		row{"outputs", "GET", "outputs/", "ok"},
	)

	labels := b.permitting("annotation", "annotation=node/*|node/devices/*")
	add("is13-", "/x-nmos/annotation/v1.0/", labels,
		row{"base", "GET", "", "ok"},
		row{"self", "GET", "node/self", "ok"},
		row{"device-patch", "PATCH", "node/devices/" + id, "ok"},
		row{"self-patch", "PATCH", "node/self", no},
		row{"senders", "GET", "node/senders/" + id, "ok"},
		row{"sender-patch", "PATCH", "node/senders/" + id, no},
		row{"node", "GET", "node", "ok"},
	)

	add("crossed-", "/x-nmos/", b.permitting("", "node=*|*"),
		row{"connection", "GET", "connection/v1.1/single/senders", none},
		row{"query", "GET", "query/v1.3/nodes", none},
		row{"channelmapping", "POST", "channelmapping/v1.0/map/activations", none},
		row{"node-of-any-version", "GET", "node/v9.0/self", "ok"},
		row{"node-write", "PUT", "node/v1.2/receivers/1/target", "ok"},
		row{"nodes", "GET", "nodes/v1.0/self", none},
		row{"connection-base", "GET", "connection/", none},
		row{"ncp", "GET", "ncp/v1.0/", none},
		row{"configuration", "GET", "configuration/v1.0/rolePaths", none},
		row{"events", "GET", "events/v1.0/sources/1/state", none},
		row{"auth", "GET", "auth/v1.0/token", none},
	)
	add("unauthenticated-", "/x-nmos/", "",
		row{"self", "GET", "node/v1.3/self", "no-token"},
		row{"single", "GET", "connection/v1.1/single/", "no-token"},
		row{"staged", "PATCH", "connection/v1.1/single/receivers/1/staged", "no-token"},
		row{"nodes", "GET", "query/v1.3/nodes", "no-token"},
		row{"register", "POST", "registration/v1.3/resource", "no-token"},
		row{"events", "GET", "events/v1.0/sources/1/state", "no-token"},
		row{"activation", "POST", "channelmapping/v1.0/map/activations", "no-token"},
		row{"global", "GET", "system/v1.0/global", "no-token"},
		row{"constraints", "DELETE", "streamcompatibility/v1.0/senders/1/constraints/active", "no-token"},
		row{"rolepaths", "GET", "configuration/v1.0/rolePaths", "no-token"},
		row{"annotation", "PATCH", "annotation/v1.0/node/self", "no-token"},
		row{"unknown-api", "GET", "future/v1.0/x", "no-token"},
		row{"bad-version", "GET", "node/1.3/self", "no-token"},
	)
	for _, c := range b.group.Cases {
		if strings.HasPrefix(c.Name, "unauthenticated-") {
			c.Rule, c.Part = "ANS-1", "request"
		}
	}
}

// control is the handshake of an IS-12 socket, which can write.
func (b *builder) control() {
	b.begin("control", "IS-12: the handshake of the socket of a device model. The device asks nobody about single "+
		"commands, so the handshake opens all of them.")
	b.setting("control", "")
	const ncp = "/x-nmos/ncp/v1.0"
	for _, r := range []struct{ name, rule, claims, reason string }{
		{"root-both", "PATH-15", "control=root.*|root.*", "ok"},
		{"star-both", "PATH-15", "control=*|*", "ok"},
		{"star-and-root", "PATH-15", "control=*|root.*", "ok"},
		{"stars-both", "PATH-15", "control=**|root.**", "ok"},
		{"among-others", "PATH-15", "control=root.a root.*|x * y", "ok"},
		{"read-alone", "PATH-15", "control=root.*", "control-not-granted"},
		{"write-alone", "PATH-15", "control=|root.*", "control-not-granted"},
		{"part-of-model", "PATH-15", "control=root.a.*|root.a.*", "control-not-granted"},
		{"read-part", "PATH-15", "control=root.a.*|root.*", "control-not-granted"},
		{"write-part", "PATH-15", "control=root.*|root.a", "control-not-granted"},
		{"root-block-only", "PATH-15", "control=root|root", "control-not-granted"},
		{"rooted", "PATH-15", "control=roots.*|roots.*", "control-not-granted"},
		{"root-without-dot", "PATH-15", "control=root*|root*", "control-not-granted"},
		{"root-in-capitals", "PATH-15", "control=Root.*|Root.*", "control-not-granted"},
		{"root-dot", "PATH-15", "control=root.|root.", "control-not-granted"},
		{"star-dot", "PATH-15", "control=*.*|*.*", "control-not-granted"},
		{"url-form", "PATH-15", "control=/x-nmos/ncp/v1.0|/x-nmos/ncp/v1.0", "control-not-granted"},
		{"ncp-claim", "CTL-15", "ncp=*|*", "ok"},
		{"ncp-claim-root", "CTL-15", "ncp=root.*|root.*", "ok"},
		{"both-claims-added", "CTL-15", "control=root.* ncp=|root.*", "ok"},
		{"both-claims-read-alone", "CTL-15", "control=root.* ncp=root.*", "control-not-granted"},
		{"nc-claim", "CTL-15", "nc=*|*", "api-not-granted"},
		{"configuration-claim", "CTL-15", "configuration=root.*|root.*", "api-not-granted"},
		{"node-claim", "CTL-15", "node=*|*", "api-not-granted"},
		{"empty-lists", "PATH-15", "control=", "control-not-granted"},
	} {
		token := b.permitting("", strings.Fields(strings.ReplaceAll(r.claims, " ncp=", "\tncp="))...)
		if strings.Contains(r.claims, " ncp=") || r.name == "among-others" {
			token = b.permitting("", strings.Split(strings.ReplaceAll(r.claims, " ncp=", "\tncp="), "\t")...)
		}
		b.add(Case{Name: "ncp-" + r.name, Rule: r.rule, Part: "permission", Token: token,
			Request: Request{Scheme: "wss", Target: ncp + "?access_token={token}", Upgrade: "websocket"}}, r.reason)
	}
	scope, whole, reading := b.permitting("control"), b.permitting("", "control=root.*|root.*"),
		b.permitting("", "control=root.*")
	b.ask("ncp-", "permission", scope,
		ask{"scope-alone", "CTL-16", "GET", ncp, "control-not-granted", nil},
		ask{"base-by-scope", "PATH-4", "GET", "/x-nmos/ncp/", "ok", nil},
	)
	b.ask("ncp-", "permission", whole,
		ask{"header", "PATH-15", "GET", ncp, "ok", nil},
		ask{"slash", "PATH-15", "GET", ncp + "/", "ok", nil},
		ask{"head", "PATH-15", "HEAD", ncp, "ok", nil},
		ask{"other-version", "PATH-15", "GET", "/x-nmos/ncp/v2.1", "ok", nil},
		ask{"post", "PATH-15", "POST", ncp, "api-not-granted", nil},
		ask{"base", "PATH-4", "GET", "/x-nmos/ncp", "ok", nil},
		ask{"bad-version", "PATH-10", "GET", "/x-nmos/ncp/v1", "path-version", []int{404}},
		ask{"below", "PATH-5", "GET", ncp + "/a", "api-not-granted", nil},
	)
	b.ask("ncp-", "permission", reading,
		ask{"header-read-alone", "PATH-15", "GET", ncp, "control-not-granted", nil},
		ask{"dots", "PATH-8", "GET", "/x-nmos/ncp/v1.0/x/..", "control-not-granted", nil},
		ask{"encoded", "PATH-8", "GET", "/x-nmos/nc%70/v1.0", "control-not-granted", nil},
	)
	b.ask("ncp-", "request", "",
		ask{"without-token", "ANS-1", "GET", ncp, "no-token", nil})
}

// configuration is IS-14: role paths in URLs.
func (b *builder) configuration() {
	b.begin("configuration", "IS-14: objects of a device model by their role paths in the URL.")
	b.setting("configuration", "")
	const base = "/x-nmos/configuration/v1.0/"
	const paths = base + "rolePaths"
	const no, sub = "path-not-granted", "subtree-not-granted"
	for _, r := range []struct{ name, rule, claims, method, target, reason string }{
		{"base", "CTL-60", "root.a", "GET", base, "ok"},
		{"base-selector", "CTL-60", "root.a", "GET", base + "slot3/", "ok"},
		{"below-selector", "CTL-60", "root.a", "GET", base + "slot3/rolePaths/root.a", "ok"},
		{"selector-with-dot", "CTL-60", "*", "GET", base + "a.b/rolePaths/root", no},
		{"two-selectors", "CTL-60", "*", "GET", base + "a/b/rolePaths/root", no},
		{"not-in-api", "CTL-60", "*|*", "PUT", base + "slot3/other", no},
		{"rolepaths-in-small-letters", "CTL-60", "*", "GET", base + "slot3/rolepaths/root", no},
		{"get-value", "CTL-61", "root.a", "GET", paths + "/root.a/properties/1p1/value", "ok"},
		{"get-object", "CTL-61", "root.a", "GET", paths + "/root.a", "ok"},
		{"get-slash", "CTL-61", "root.a", "GET", paths + "/root.a/", "ok"},
		{"head-descriptor", "CTL-61", "root.a", "HEAD", paths + "/root.a/descriptor", "ok"},
		{"get-methods", "CTL-61", "root.a", "GET", paths + "/root.a/methods", "ok"},
		{"another-object", "CTL-14", "root.a", "GET", paths + "/root.b", no},
		{"below-object", "CTL-14", "root.a", "GET", paths + "/root.a.b", no},
		{"above-object", "CTL-14", "root.a.b", "GET", paths + "/root.a", no},
		{"prefix-of-role", "CTL-14", "root.a", "GET", paths + "/root.ab", no},
		{"put-with-read", "CTL-61", "*", "PUT", paths + "/root.a/properties/1p6/value", no},
		{"get-with-write", "CTL-61", "|*", "GET", paths + "/root.a/properties/1p6/value", no},
		{"put-with-write", "CTL-61", "|root.a", "PUT", paths + "/root.a/properties/1p6/value", "ok"},
		{"patch-method", "CTL-61", "|root.a", "PATCH", paths + "/root.a/methods/3m1", "ok"},
		{"post", "CTL-61", "root.a", "POST", paths + "/root.a", no},
		{"delete", "CTL-61", "|root.a", "DELETE", paths + "/root.a", "ok"},
		{"options", "PATH-2", "", "OPTIONS", paths + "/root.a/bulkProperties", "public"},
		{"method-that-reads", "CTL-62", "root.a", "PATCH", paths + "/root.a/methods/1m1", no},
		{"role-in-capitals", "CTL-61", "root.A", "GET", paths + "/root.a", no},
		{"encoded-in-url", "CTL-17", "root.r%C3%B6hre", "GET", paths + "/root.r%C3%B6hre", no},
		{"encoded-non-ascii", "CTL-17", "root.röhre", "GET", paths + "/root.r%C3%B6hre", "ok"},
		{"encoded-twice", "CTL-17", "root.a_b", "GET", paths + "/root.a%255Fb", no},
		{"encoded-unreserved", "CTL-17", "root.a_b", "GET", paths + "/root.a%5Fb", "ok"},
		{"slash-in-role", "PATH-9", "*", "GET", paths + "/root.a%2Fb", "path-ambiguous"},
		{"star-in-url", "CTL-17", "root.a", "GET", paths + "/root.*", no},
		{"dots-to-another", "PATH-8", "root.a", "GET", paths + "/root.a/../root.b", no},
		{"dots-to-same", "PATH-8", "root.a", "GET", paths + "/root.b/../root.a", "ok"},
		{"below-block", "CTL-12", "root.a.*", "GET", paths + "/root.a.b.c", "ok"},
		{"block-itself", "CTL-13", "root.a.*", "GET", paths + "/root.a", "ok"},
		{"beside-block", "CTL-12", "root.a.*", "GET", paths + "/root.ab", no},
		{"star-inside", "CTL-12", "root.*.gain", "GET", paths + "/root.tx.1.gain", "ok"},
		{"star-inside-not", "CTL-12", "root.*.gain", "GET", paths + "/root.tx.1.mute", no},
		{"star-before", "CTL-12", "*.gain", "GET", paths + "/root.tx.gain", "ok"},
		{"root-star", "CTL-13", "root.*", "GET", paths + "/root", "ok"},
		{"root-star-deep", "CTL-12", "root.*", "GET", paths + "/root.a.b.c.d", "ok"},
		{"root-alone", "CTL-14", "root", "GET", paths + "/root.a", no},
		{"list", "CTL-63", "root.a", "GET", paths, "ok"},
		{"list-slash", "CTL-63", "root.a", "GET", paths + "/", "ok"},
		{"list-head", "CTL-63", "root.a", "HEAD", paths, "ok"},
		{"list-by-write", "CTL-63", "|root.a", "GET", paths, no},
		{"list-of-selector", "CTL-63", "root.a", "GET", base + "slot3/rolePaths", "ok"},
		{"list-written", "CTL-63", "*|root.a", "PUT", paths, no},
		{"list-written-with-all", "CTL-63", "|root.*", "POST", paths, "ok"},
		{"bulk-root", "CTL-64", "root.*", "GET", paths + "/root/bulkProperties", "ok"},
		{"bulk-star", "CTL-64", "*", "GET", paths + "/root.a/bulkProperties?recurse=true", "ok"},
		{"bulk-block", "CTL-64", "root.a.*", "GET", paths + "/root.a/bulkProperties", "ok"},
		{"bulk-one", "CTL-64", "root.a", "GET", paths + "/root.a/bulkProperties", sub},
		{"bulk-one-head", "CTL-64", "root.a", "HEAD", paths + "/root.a/bulkProperties", sub},
		{"bulk-one-alone", "CTL-64", "root.a", "GET", paths + "/root.a/bulkProperties?recurse=false", "ok"},
		{"bulk-other", "CTL-64", "root.a", "GET", paths + "/root.b/bulkProperties?recurse=false", no},
		{"bulk-said-twice", "CTL-64", "root.a", "GET",
			paths + "/root.a/bulkProperties?recurse=false&recurse=true", sub},
		{"bulk-said-in-capitals", "CTL-64", "root.a", "GET", paths + "/root.a/bulkProperties?Recurse=false", sub},
		{"bulk-false-in-capitals", "CTL-64", "root.a", "GET", paths + "/root.a/bulkProperties?recurse=False", sub},
		{"bulk-said-empty", "CTL-64", "root.a", "GET", paths + "/root.a/bulkProperties?recurse=", sub},
		{"bulk-said-encoded", "CTL-64", "root.a", "GET",
			paths + "/root.a/bulkProperties?recurse=false&%72ecurse=true", sub},
		{"bulk-by-star-behind", "CTL-64", "root.a*", "GET", paths + "/root.a/bulkProperties", "ok"},
		{"bulk-needs-more", "CTL-64", "root.a.b*", "GET", paths + "/root.a/bulkProperties", no},
		{"bulk-two-specifiers", "CTL-64", "root.a root.a.b.*", "GET", paths + "/root.a/bulkProperties", sub},
		{"properties-not-bulk", "CTL-64", "root.a", "GET", paths + "/root.a/properties?recurse=true", "ok"},
		{"bulk-patch", "CTL-65", "|root.a", "PATCH", paths + "/root.a/bulkProperties", "ok"},
		{"bulk-put", "CTL-65", "|root.a", "PUT", paths + "/root.a/bulkProperties", "ok"},
		{"bulk-put-other", "CTL-65", "|root.a.*", "PUT", paths + "/root/bulkProperties", no},
		{"bulk-put-with-read", "CTL-65", "root.*", "PUT", paths + "/root.a/bulkProperties", no},
		{"url-form", "CTL-66", "rolePaths/root*", "GET", paths + "/root", no},
		{"url-form-whole", "CTL-66", "rolePaths/root.a", "GET", paths + "/root.a", no},
	} {
		b.ask("is14-", "permission", b.permitting("", "configuration="+r.claims),
			ask{r.name, r.rule, r.method, r.target, r.reason, nil})
	}
	scope := b.permitting("configuration")
	b.ask("is14-", "permission", scope,
		ask{"scope-alone", "CTL-16", "GET", paths + "/root", no, nil},
		ask{"scope-alone-list", "CTL-16", "GET", paths, no, nil},
		ask{"scope-alone-base", "CTL-16", "GET", base, "ok", nil},
	)
	b.ask("is14-", "permission", b.permitting("", "control=root.*|root.*"),
		ask{"claim-of-is12", "CTL-61", "GET", paths + "/root", "api-not-granted", nil},
		ask{"claim-of-is12-base", "CTL-61", "GET", base, "api-not-granted", nil},
	)
	t := b.base()
	t.Claims.SetRaw("x-nmos-configuration", `{"read":[""]}`)
	token := t.Sign()
	b.ask("is14-", "permission", token,
		ask{"empty-specifier", "CTL-18", "GET", paths + "/root", no, nil},
		ask{"empty-specifier-list", "CTL-18", "GET", paths, no, nil},
	)
}
