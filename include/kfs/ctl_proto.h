/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control protocol: how kfsctl and a daemon talk over the mount's Unix stream socket.
 *
 * A message is a u32 (little endian) with the length of what follows, then that many bytes of JSON (UTF-8, one
 * object). A client sends a request and reads one reply before it sends the next; it may close whenever it likes.
 *
 *	{"version": 1, "command": "map", "args": {"ino": 12, "lblk": 0}}
 *	{"version": 1, "ok": true, "result": {...}}
 *	{"version": 1, "ok": false, "error": {"errno": "EINVAL", "what": "ino", "why": "...", "remedy": "..."}}
 *
 * Requests are strict: an unknown command, an unknown argument, a wrong type, anything after the object is an error
 * reply. Replies may gain keys without a new version, so a client ignores keys it does not know; a key once sent
 * keeps its name, type and unit. Numbers are integers in the unit that ends their name (_ns, _bytes, _seconds).
 *
 * Who may ask is decided by the socket's peer credentials: root, and the user the mount belongs to. Everybody else
 * gets one reply with EPERM. A request has to be complete within CTL_REQUEST_MS after the connection or the reply
 * before it, and a reply has to be taken within CTL_REPLY_MS, or the daemon closes the connection.
 *
 * Commands and their arguments (all in "args", all optional unless said):
 *	status						what is mounted, how, and how it fares
 *	stats	histograms: bool			counters; with the latency buckets
 *	stats_kernel	on: bool (needed)		count in the kernel, too (tracing programs), or no more
 *	sync						reply when everything so far is durable
 *	freeze, thaw					stop changes until thaw; the image is self-contained
 *	map	ino: integer (needed), lblk: integer	a file's extents from a logical block on, in pages
 *	cache_show	path: text (needed)		what the kernel would answer for a path of the image
 *	cache_drop	path: text			forget it, or everything
 *	check	rate_bytes, memory_bytes: integer	verify the image; replies when done
 *	check_status, check_stop			how far it has come; end it
 *	trim	min_bytes: integer			give free space back to the medium
 *	abort	unique: integer | older_seconds: integer give callers of stuck requests an error
 *	trace	on: bool (needed)			one log line for each request and reply
 *	share_add  path: text (needed), tag, cache: text, readonly, readdirplus: bool
 *							serve one virtual machine; with two descriptors, below
 *
 * share_add comes with two descriptors (SCM_RIGHTS, with the first byte of the message): a Unix stream socket that
 * listens for the machine's front end or is connected to it, and a connected one that stands for who asked. path is a
 * directory of the image, "/" its root. The reply tells the cache mode that is served. From then on the share lives
 * until the front end has gone or the other end of the second socket is closed; then CTL_SHARE_GONE is written to that
 * socket and it is closed. CTL_SHARE_STOPPED instead: the daemon ends. Neither: the daemon was killed.
 */
#ifndef KFS_CTL_PROTO_H
#define KFS_CTL_PROTO_H

#define CTL_VERSION 1

/* The longest request has a path, PATH_MAX of 4096 bytes of which each may be written as six, and little besides. */
#define CTL_REQUEST_BYTES_MAX 32768u
/* The longest reply is a page of extents: CTL_MAP_EXTENTS_MAX of at most 120 bytes. */
#define CTL_REPLY_BYTES_MAX (1u << 20)
#define CTL_MAP_EXTENTS_MAX 4096u

#define CTL_SHARE_GONE 'g'
#define CTL_SHARE_STOPPED 's'

#define CTL_REQUEST_MS 10000
#define CTL_REPLY_MS 10000

#endif
