#!/bin/sh
# Does what the test says: a line is a number and a command in base64; the answer is the number, the exit status and
# what was printed, in base64.
PATH=/box:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
until set -- /dev/vport*p1 && [ -c "$1" ]; do
	sleep 0.1
done
exec 3<>"$1"
while read -r number line <&3; do
	printf '%s' "$line" | base64 -d >/run/agent.command
	sh /run/agent.command >/run/agent.printed 2>&1 </dev/null
	status=$?
	printf '%s %s %s\n' "$number" "$status" "$(base64 -w 0 </run/agent.printed)" >&3
done
