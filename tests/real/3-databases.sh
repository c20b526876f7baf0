#!/usr/bin/env bash
# timeout: 1800
# SQLite in rollback and WAL mode with concurrent writers, and PostgreSQL: initdb, pgbench, a crash of the server.
. "$(dirname "$0")/lib.sh"
need sqlite3
WRITERS=4 ROWS=200

writer() { # DB ID
	local i
	for ((i = 0; i < ROWS; i++)); do
		echo "INSERT INTO t VALUES ($2, $i, hex(randomblob(200)));"
	done | sqlite3 -cmd ".timeout 60000" "$1"
}

sqlite_mode() { # MODE
	local db=$1.db id pids=() pid
	sqlite3 "$db" "PRAGMA journal_mode=$1; CREATE TABLE t (w INT, i INT, v TEXT, PRIMARY KEY (w, i));"
	for ((id = 0; id < WRITERS; id++)); do
		writer "$db" "$id" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
	[ "$(sqlite3 "$db" 'PRAGMA integrity_check')" = ok ] || return 1
	[ "$(sqlite3 "$db" 'SELECT count(*) FROM t')" -eq $((WRITERS * ROWS)) ] || return 1
}
sqlite_all() { sqlite_mode delete && sqlite_mode wal && sqlite_mode truncate; }

both 512M sqlite_all
remount_kfs kfs.img kfs
for db in delete wal truncate; do
	expect_eq "$(sqlite3 "kfs/$db.db" 'PRAGMA integrity_check; SELECT count(*) FROM t')" "$(printf 'ok\n%d' $((WRITERS * ROWS)))" "$db"
done
umount_kfs kfs
fsck_clean kfs.img
kumount ext4

PG=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$PG" ] || skip "SQLite passed; PostgreSQL is not installed"
chmod 711 "$SCRATCH"
run_pg() { setpriv --reuid postgres --regid postgres --clear-groups env LC_ALL=C "$@"; }
pg_all() {
	local sock=$PWD/sock data=$PWD/data
	# An immediate stop is a crash for the server: it recovers from its log.
	mkdir -p sock && chown postgres:postgres . sock &&
		run_pg "$PG/initdb" -D "$data" -A trust &&
		run_pg "$PG/pg_ctl" -D "$data" -w -l log -o "-k $sock -h ''" start &&
		run_pg "$PG/pgbench" -h "$sock" -i -s 5 postgres &&
		run_pg "$PG/pgbench" -h "$sock" -c 4 -T 20 postgres &&
		run_pg "$PG/pg_ctl" -D "$data" -m immediate stop &&
		run_pg "$PG/pg_ctl" -D "$data" -w -l log -o "-k $sock -h ''" start &&
		[ "$(run_pg "$PG/psql" -h "$sock" -At -c 'SELECT sum(abalance) = (SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts' postgres)" = t ] &&
		run_pg "$PG/pg_ctl" -D "$data" -w stop
}
both 1G pg_all
grep tps kfs.log ext4.log
umount_kfs kfs
fsck_clean kfs.img
