// The page of nmos-authd for a device's own web interface. It asks below "view/", which the web server passes to
// view.sock, and shows what it gets as text: nothing from the daemon ever becomes markup. See README.md.
"use strict";
(() => {
	const MOST = 200; // decisions in the list
	const $ = (id) => document.getElementById(id);

	// Text from the network: what would steer how the rest is shown is spelt out.
	const show = (text) => String(text ?? "").replace(
		/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
		(c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

	const make = (name, text, className) => {
		const e = document.createElement(name);
		if (text !== undefined) e.textContent = show(text);
		if (className) e.className = className;
		return e;
	};
	const many = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;
	const seconds = (from, to) => Math.max(0, Math.round((Date.parse(to) - Date.parse(from)) / 1000));
	const span = (s) => {
		for (const [unit, length] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
			if (s >= 2 * length) return many(Math.floor(s / length), unit);
		}
		return many(s, "second");
	};
	const clock = (time) => (/T(\d\d:\d\d:\d\d)/.exec(time) ?? ["", "--:--:--"])[1];
	const moment = (time) => show(time).replace("T", " ").replace(/\.\d+/, "");

	const said = (text) => {
		$("said").textContent = text;
		setTimeout(() => { if ($("said").textContent === text) $("said").textContent = ""; }, 4000);
	};

	// Browsers have navigator.clipboard only over TLS, and a device often has none.
	const copy = async (text, what) => {
		try {
			await navigator.clipboard.writeText(text);
		} catch {
			const area = make("textarea");
			area.value = text;
			area.setAttribute("aria-label", what);
			($("explain").open ? $("explain") : document.body).append(area);
			const before = document.activeElement;
			area.select();
			const done = document.execCommand("copy");
			area.remove();
			before?.focus();
			if (!done) {
				said("The browser does not allow that; select it by hand.");
				return;
			}
		}
		said(`Copied: ${what}.`);
	};

	const base = new URL("view/", location);
	base.username = base.password = ""; // fetch refuses them
	const ask = async (path, more) => {
		const answer = await fetch(base.href + path, { cache: "no-store", credentials: "same-origin", ...more });
		if (!answer.ok) {
			let why = `HTTP ${answer.status}`;
			try {
				const e = await answer.json();
				why = e.error + (more ? `: ${e.debug}` : "") || why;
			} catch { /* not the daemon's words */ }
			throw Object.assign(new Error(why), { status: answer.status });
		}
		return answer;
	};

	// pairs fills a list of names and values; what has nothing to say is left out.
	const pairs = (list, rows) => {
		list.replaceChildren(...rows.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
		return list;
	};

	// ---- status: the light, the mode, the clock, the servers ----

	const light = (state, line, more) => {
		$("light").className = "light " + state;
		if ($("line").textContent !== show(line)) $("line").textContent = show(line); // else it would be read out again
		$("more").replaceChildren(...more.map((text) => make("li", text)));
	};

	let inventoried = false; // the device has an inventory

	const status = async () => {
		let s;
		try {
			s = await (await ask("status")).json();
		} catch (e) {
			light("silent", e.status === 500 ? "the daemon is starting" : `no answer from the daemon: ${e.message}`, []);
			return;
		}
		inventoried = Boolean(s.inventory?.source);
		const wrong = s.degraded ?? [];
		const servers = s.servers ?? [];
		const held = servers.reduce((n, v) => n + (v.kids ?? []).length, 0);
		light(s.healthy ? "healthy" : "degraded",
			s.healthy ? `healthy: ${s.mode}, ${many(servers.length, "server")}, ${many(held, "key")}` : "degraded: " + wrong[0],
			wrong.slice(1));
		const o = s.observe;
		$("observe-stop").hidden = !o;
		pairs($("facts"), [
			["Mode", s.mode + (o ? `, ends in ${span(o.left_seconds)}, at ${moment(o.until)}, begun by user ${o.uid}` + (o.for ? ` for ${o.for}` : "") : "")],
			["Not enforced", (s.not_enforced ?? []).map((n) => `${n.api} ${n.access}`).join(", ")],
			["Device’s clock", `${moment(s.time)}, ${s.clock.state}, ${s.clock.why}`],
			["Names", s.names.join(", ")],
			["Certificate", (s.certs?.certificates ?? []).map((c) =>
				`${c.key}: ` + (c.held ? `ends ${moment(c.ends)}, in ${span(seconds(s.time, c.ends))}` : "none")).join("; ")],
			["Daemon", `${s.version}, model ${s.model}, for ${span(seconds(s.since, s.time))}`],
		]);
		$("server-list").replaceChildren(...servers.map((v) => server(s, v)));
		if (!servers.length) $("server-list").append(make("p", "None is known."));
	};

	const server = (s, v) => {
		const box = make("div", undefined, "server");
		box.append(make("h3", v.issuer));
		const ahead = v.clock_ahead_seconds ?? 0;
		box.append(pairs(make("dl", undefined, "facts"), [
			["Known", v.origin + (v.used ? ", used" : "") + (v.domain ? `, in ${v.domain}` : "") + (v.at ? `, at ${v.at}` : "")],
			["Keys", (v.kids ?? []).length ? v.kids.map((k) => JSON.stringify(k)).join(", ") : "none are held"],
			["Fetched", v.fetched && `${span(seconds(v.fetched, s.time))} ago` + (v.kept ? ", before the start" : "")],
			["Next", v.next && `in ${span(seconds(s.time, v.next))}`],
			["Clocks", v.date && `server ${moment(v.date)}, device ${moment(s.time)}: ` +
				(ahead ? `the device is ${span(Math.abs(ahead))} ${ahead > 0 ? "ahead" : "behind"}` : "the same")],
			["Difference", v.clock_difference],
			[v.failing ? "Failing" : "Failed before", v.error],
			["No longer found", v.missing_seconds && `for ${span(v.missing_seconds)}`],
		]));
		return box;
	};

	// ---- decisions, live ----

	let stream, retry, shown = [], seen = new Set(), paused = false, waiting = [];

	const text = (r) => [r.client, r.method || r.access || r.question, target(r), reason(r), r.unverified_issuer].join(" ").toLowerCase();
	const reason = (r) => r.would || r.reason;
	const target = (r) => (r.resource ? r.resource + " " : "") + (r.path || (r.kind ? `${r.kind}/${r.name}` : "")) +
		(r.targets > 1 ? ` and ${r.targets - 1} more` : "") + (r.count > 1 ? ` ×${r.count}` : "");

	const row = (r) => {
		const item = make("li");
		if (r.event === "missed") {
			item.append(make("p", `${many(r.count, "decision")} came faster than they could be shown`, "gap"));
			return { item, text: "" };
		}
		const word = r.would ? "would" : r.decision === "allow" ? "allow" : "deny";
		const button = make("button");
		button.type = "button";
		button.append(
			make("span", clock(r.time) + (r.clock === "synchronised" ? "" : " ?")),
			make("span", `${r.would ? "would" : r.decision} ${r.would_status || r.status}`, word),
			make("span", `${reason(r)}, ${r.client || "no client"}`, "who"),
			make("span", `${r.method || r.access || r.question || ""} ${target(r)}`, "what"));
		button.addEventListener("click", () => explain(r));
		item.append(button);
		return { item, text: text(r) };
	};

	const fits = (entry) => { entry.item.hidden = !entry.text.includes($("filter").value.trim().toLowerCase()); };

	const add = (r) => {
		const key = `${r.seq} ${r.time}`;
		if (r.seq && seen.has(key)) return; // after a reconnection
		if (paused) {
			waiting.push(r);
			if (waiting.length > MOST) waiting.shift();
			$("pause").textContent = `Continue (${waiting.length})`;
			return;
		}
		seen.add(key);
		const entry = row(r);
		entry.key = key;
		fits(entry);
		shown.unshift(entry);
		$("list").prepend(entry.item);
		if (shown.length > MOST) {
			const old = shown.pop();
			seen.delete(old.key);
			old.item.remove();
		}
		$("none").hidden = true;
		use(r);
	};

	const follow = () => {
		clearTimeout(retry);
		stream?.close();
		stream = new EventSource(`${base.href}events?last=50${$("all").checked ? "" : "&denied=true"}`);
		stream.onopen = () => { $("live").textContent = "live"; };
		stream.onmessage = (e) => {
			try { add(JSON.parse(e.data)); } catch { /* a line of a later version */ }
		};
		stream.onerror = () => {
			$("live").textContent = "not connected, trying again";
			if (stream.readyState === EventSource.CLOSED) retry = setTimeout(follow, 5000); // refused: others watch, or no daemon
		};
	};

	// ---- one decision, explained ----

	const explain = async (r) => {
		$("explain-h").textContent = `Decision ${r.seq}`;
		$("explain-text").textContent = "…";
		$("missing").hidden = $("copy").hidden = true;
		$("explain").showModal();
		let words;
		try {
			words = await (await ask(`explain?seq=${r.seq}`)).text();
		} catch (e) {
			$("explain-text").textContent = show(e.message);
			return;
		}
		$("explain-text").textContent = show(words);
		const found = /^Missing: (.*)$/m.exec(words);
		if (!found) return;
		let claim = found[1];
		try { claim = JSON.stringify(JSON.parse(claim), null, 2); } catch { /* as it came */ }
		$("claim").textContent = show(claim);
		$("missing").hidden = $("copy").hidden = false;
	};

	// ---- what was observed ----

	let report;

	const cell = (label, value) => {
		const td = make("td", value);
		td.dataset.label = label;
		return td;
	};

	const observe = async () => {
		try {
			report = await (await ask("observe")).json();
		} catch (e) {
			$("observed").textContent = show(`not to be had: ${e.message}`);
			return;
		}
		$("observed").textContent = show(`${many(report.decisions, "decision")} since ${moment(report.since)}, mode ${report.mode}: ` +
			`${report.denied} denied, ${report.would_deny} that enforcing would deny` +
			(report.unseen ? `, ${report.unseen} not seen` : ""));
		$("report").tBodies[0].replaceChildren(...report.controllers.map((c) => {
			const tr = make("tr");
			const name = make("th", c.client || (c.token === "none" ? "without a token" : c.issuer || `a token that is ${c.token}`));
			name.scope = "row";
			const lacks = cell("Lacks");
			const add = c.add && Object.keys(c.add).length ? c.add : undefined;
			if (add) {
				const b = make("button", "Copy");
				b.type = "button";
				b.setAttribute("aria-label", show(`Copy what the tokens of ${c.client || "this controller"} lack`));
				b.addEventListener("click", () => copy(JSON.stringify(add, null, 2), "claims to add"));
				lacks.append(make("pre", JSON.stringify(add, null, 2)), b);
			}
			for (const m of c.mend ?? []) lacks.append(make("p", `${m.reason}: ${m.means} ${m.do}`));
			if (!add && !c.mend?.length) lacks.textContent = "nothing";
			tr.append(name, cell("Decisions", c.decisions), cell("Denied", c.denied), cell("Would deny", c.would_deny), lacks);
			return tr;
		}));
	};

	// ---- resources, and who used them ----

	let rows = []; // of the table: kind/name, id, and the cells

	const use = (r) => {
		if (!r.client && !r.unverified_issuer && !r.path && !r.name) return;
		const name = r.kind && r.name ? `${r.kind}/${r.name}` : "";
		const parts = (r.path ?? "").toLowerCase().split("/");
		for (const of of rows) {
			if (of.name !== name && of.name !== r.resource && !(of.id && parts.includes(of.id))) continue;
			if (of.time && of.time > r.time) continue;
			of.time = r.time;
			of.when.textContent = moment(r.time);
			of.who.textContent = show(r.client || "no client");
			of.what.textContent = show(`${r.would ? "would " + r.would : r.decision}, ${r.access || r.method || r.question}`);
		}
	};

	const resources = async () => {
		let inventory;
		try {
			if (!inventoried) throw Object.assign(new Error(), { status: 404 });
			inventory = await (await ask("inventory")).json();
		} catch (e) {
			$("resources-note").textContent = e.status === 404 ? "The device has given no inventory." : show(`not to be had: ${e.message}`);
			$("uses").hidden = true;
			return;
		}
		$("resources-note").textContent = "By the decisions that the daemon remembers.";
		$("uses").hidden = false;
		rows = (inventory.resources ?? []).map((v) => {
			const name = make("th", `${v.kind}/${v.name}`);
			name.scope = "row";
			const of = { name: `${v.kind}/${v.name}`, id: v.id?.toLowerCase(), tr: make("tr"),
				when: cell("Last used", "–"), who: cell("By", "–"), what: cell("Decision", "–") };
			of.tr.append(name, of.when, of.who, of.what);
			return of;
		});
		$("uses").tBodies[0].replaceChildren(...rows.map((of) => of.tr));
		try {
			const lines = await (await ask("records?last=1000")).text();
			for (const line of lines.split("\n")) if (line) use(JSON.parse(line));
		} catch { /* the next turn may have them */ }
	};

	// ---- what the configuration lets the page do ----

	let then; // once it is confirmed

	const actions = async () => {
		let can = [];
		try { can = (await (await ask("actions")).json()).actions; } catch { /* the light says it */ }
		$("act-observe").hidden = !can.includes("observe");
		$("act-refresh").hidden = !can.includes("refresh");
		$("act").hidden = $("act-link").hidden = !can.length;
	};

	const confirm = (question, yes, work) => {
		$("confirm-text").textContent = question;
		$("confirm-yes").textContent = yes;
		then = work;
		$("confirm").showModal();
	};

	// The guard is another after each start of the daemon, so it is asked for each time.
	const act = async (path, body, done) => {
		$("done").textContent = "…";
		try {
			const { guard } = await (await ask("actions")).json();
			const answer = await ask(`do/${path}`, {
				method: "POST", body: JSON.stringify(body),
				headers: { "Content-Type": "application/json", "X-Nmos-Authd-Guard": guard },
			});
			$("done").textContent = show(done(answer.status === 204 ? {} : await answer.json()));
		} catch (e) {
			$("done").textContent = show(`Not done: ${e.message}`);
		}
		status();
	};

	const fetched = (r) => r.issuers.map((v) => `${v.issuer}: ` + (v.error ||
		`${many(v.keys.length, "key")}, ${v.added?.length ?? 0} new, ${v.removed?.length ?? 0} gone, ` +
		`${many(v.tokens_refused, "remembered token")} refused.`)).join(" ");

	// ---- go ----

	$("observe-start").addEventListener("click", () => {
		const long = $("span").selectedOptions[0].textContent;
		confirm(`For ${long} the device lets everybody do everything. What enforcing would deny is only recorded.`, `Deny nothing for ${long}`,
			() => act("observe", { for: $("span").value }, (r) => `Nothing is denied until ${moment(r.until)}.` +
				(r.unkept ? ` A restart ends it, too: ${r.unkept}` : "")));
	});
	$("observe-stop").addEventListener("click", () => confirm("Requests without a permission are denied from now on.", "Enforce now",
		() => act("stop", {}, () => "The mode is enforce again.")));
	$("refresh").addEventListener("click", () => confirm("The keys of all authorization servers are fetched now.", "Fetch now",
		() => act("refresh", {}, fetched)));
	$("confirm-no").addEventListener("click", () => $("confirm").close());
	$("confirm-yes").addEventListener("click", () => {
		$("confirm").close();
		then();
	});

	$("filter").addEventListener("input", () => shown.forEach(fits));
	$("all").addEventListener("change", () => {
		shown = [];
		seen = new Set();
		$("list").replaceChildren();
		follow();
	});
	$("pause").addEventListener("click", () => {
		paused = !paused;
		$("pause").setAttribute("aria-pressed", String(paused));
		$("pause").textContent = paused ? "Continue" : "Pause";
		if (!paused) waiting.splice(0).forEach(add);
	});
	$("copy").addEventListener("click", () => copy($("claim").textContent, "the missing claim"));
	$("close").addEventListener("click", () => $("explain").close());
	$("observe-copy").addEventListener("click", () => report && copy(JSON.stringify(report, null, 2), "the report"));
	$("observe-again").addEventListener("click", observe);

	// again asks from time to time, and not while nobody looks. Each turn waits for the one before.
	const again = async (work, every) => {
		if (!document.hidden) await work();
		setTimeout(() => again(work, every), every);
	};
	again(status, 5000).then(() => again(resources, 30000));
	again(observe, 30000);
	again(actions, 30000);
	follow();
})();
