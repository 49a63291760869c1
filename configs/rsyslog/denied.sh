#!/bin/sh
# Who was denied what since an hour, in a facility: sh denied.sh studio-a.example.com [HOURS] (needs jq).
#
# A line for each device, client, reason and path, with how often, most first. A record that stands for several
# decisions (count) counts as those.
set -eu
logs=${NMOS_LOGS:-/var/log/nmos}
facility=${1:?"which facility? $(ls "$logs")"}
since=$(date -u -d "${2:-1} hours ago" +%Y-%m-%dT%H:%M:%S)
# Records lie in the file of the store's day: yesterday's may hold some of this hour.
find "$logs/$facility" -name '*.jsonl' -mtime -2 -exec cat {} + |
	jq -rR --arg since "$since" '
		fromjson? | select(.decision == "deny" and .time >= $since)
		| [.device, (.client // .unverified_issuer // "-"), .reason, .method // .access // "-",
			(.resource // .path // .name // "-"), (.count // 1)] | @tsv' |
	awk -F '\t' '
		{ n[$1 FS $2 FS $3 FS $4 FS $5] += $6 }
		END { for (k in n) print n[k] FS k }' |
	sort -t "$(printf '\t')" -k1,1nr -k2 |
	awk -F '\t' '
		BEGIN { print "times  device              client            reason              what" }
		{ printf "%5d  %-18s  %-16s  %-18s  %s %s\n", $1, $2, $3, $4, $5, $6 }'
