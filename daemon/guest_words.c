/* SPDX-License-Identifier: GPL-2.0-only */
/* What is about guests among the words of the command line. */
#include "daemon/guest_words.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/options.h"
#include "daemon/proto/proto.h"
#include "vhost/vhost.h"

#define TAG_DEFAULT "kfs"
/* virtiofsd's. */
#define ALONE_TIMEOUT_S 86400.0

/* The first word that is only about guests; NULL: none. */
static const char *first_word(const struct options *o)
{
	return o->tag					 ? "tag" :
	       o->guests_readonly != UNSET		 ? "guests" :
	       o->vhost_queues				 ? "vhost_queues" :
	       o->vhost_dir				 ? "vhost_dir" :
	       o->socket_group				 ? "socket_group" :
	       o->vhost_once == ON			 ? "vhost_once" :
	       o->handover == ON			 ? "handover" :
	       o->incoming == ON			 ? "incoming" :
	       o->dax_window				 ? "dax_window" :
	       o->vhost_poll_us != VHOST_POLL_DEFAULT_US ? "vhost_poll" :
	       o->guests_max				 ? "guests_max" :
	       o->guest_nodes				 ? "guest_nodes" :
	       o->guest_locks				 ? "guest_locks" :
	       o->guest_cache != UNSET			 ? "guest_cache" :
	       o->guest_writeback == ON			 ? "guest_writeback" :
	       o->guest_writeback == OFF		 ? "guest_nowriteback" :
	       o->guest_xattr == ON			 ? "guest_xattr" :
	       o->guest_xattr == OFF			 ? "guest_noxattr" :
	       o->guest_acl == ON			 ? "guest_acl" :
	       o->guest_acl == OFF			 ? "guest_noacl" :
	       o->guest_uids				 ? "guest_translate_uid" :
	       o->guest_gids				 ? "guest_translate_gid" :
							   NULL;
}

const char *guest_words_tag(const struct options *o)
{
	return o->tag ? o->tag : TAG_DEFAULT;
}

bool guest_words_alone(const struct options *o)
{
	return o->no_mount && (o->guests_max == 1 || !options_guests_write(o));
}

/* False: @why says what is wrong with the map. NULL: none, which is fine. */
static bool map_of(const char *word, const char *text, struct idmap *ret_map, char *why,
		   size_t why_len)
{
	int err = text ? idmap_parse(text, ret_map) : 0;

	if (err)
		(void)snprintf(why, why_len, "%s=%s: %s", word, text,
			       err == -E2BIG ? "more than 16 ranges: leave some out" :
					       "not map:GUEST:IMAGE:COUNT, or ranges that overlap");
	return !err;
}

/* Guests that take their image along. */
static void moving_fits(const struct options *o, char *why, size_t why_len)
{
	const char *word = o->incoming == ON ? "incoming" : "handover";

	if (o->incoming != ON && o->handover != ON)
		return;
	if (o->incoming == ON && !o->no_mount)
		(void)snprintf(why, why_len,
			       "incoming: a mount cannot wait for a guest: say --no-mount");
	else if (o->readonly == ON)
		(void)snprintf(
			why, why_len,
			"%s: an image that is only read need not be handed over: leave it out",
			word);
	else if (o->dax_window)
		(void)snprintf(why, why_len,
			       "%s: a guest with a window does not move: leave dax_window out",
			       word);
	else if (o->incoming == ON && o->vhost_dir)
		(void)snprintf(
			why, why_len,
			"incoming: the directory cannot be looked up before the image is there: "
			"share all of it");
}

bool guest_words_fit(const struct options *o, char *why, size_t why_len)
{
	const char *word = first_word(o);
	struct idmap map;

	*why = 0;
	if (!o->vhost && word)
		(void)snprintf(why, why_len, "%s: needs vhost=SOCKET", word);
	else if (!map_of("guest_translate_uid", o->guest_uids, &map, why, why_len) ||
		 !map_of("guest_translate_gid", o->guest_gids, &map, why, why_len))
		return false;
	else if (o->guest_acl == ON && (o->acl == OFF || o->guest_xattr == OFF))
		(void)snprintf(why, why_len, "guest_acl: contradicts %s: leave one out",
			       o->acl == OFF ? "noacl" : "guest_noxattr");
	else if (o->guest_writeback == ON && !options_guests_write(o))
		(void)snprintf(why, why_len, "guest_writeback: guests only read: leave it out");
	else if (o->guest_writeback == ON && o->guest_cache == PROTO_CACHE_NEVER)
		(void)snprintf(why, why_len,
			       "guest_writeback: contradicts guest_cache=never: leave one out");
	else if (o->guest_writeback == ON && !guest_words_alone(o))
		(void)snprintf(why, why_len,
			       "guest_writeback: others would not see its writes, and lose theirs: "
			       "say --no-mount and guests_max=1");
	else
		moving_fits(o, why, why_len);
	return !*why;
}

bool guest_words_maps(const struct options *o, struct proto_opts *proto, char *why, size_t why_len)
{
	return map_of("guest_translate_uid", o->guest_uids, &proto->uids, why, why_len) &&
	       map_of("guest_translate_gid", o->guest_gids, &proto->gids, why, why_len);
}

static const char *const cache_names[] = {
	[PROTO_CACHE_AUTO] = "auto",
	[PROTO_CACHE_NEVER] = "never",
	[PROTO_CACHE_METADATA] = "metadata",
	[PROTO_CACHE_ALWAYS] = "always",
};

bool guest_words_cache_named(const char *name, enum proto_cache *ret_cache)
{
	for (size_t k = 0; k < ARRAY_SIZE(cache_names); k++) {
		if (!strcmp(name, cache_names[k])) {
			*ret_cache = (enum proto_cache)k;
			return true;
		}
	}
	return false;
}

enum proto_cache guest_words_cache(const struct options *o)
{
	return o->guest_cache == UNSET ? PROTO_CACHE_AUTO : (enum proto_cache)o->guest_cache;
}

double guest_words_valid_s(const struct options *o, enum proto_cache cache, bool readonly)
{
	bool long_ones = cache == PROTO_CACHE_METADATA || cache == PROTO_CACHE_ALWAYS;

	if (cache == PROTO_CACHE_NEVER)
		return 0;
	return long_ones && (readonly || guest_words_alone(o)) ? ALONE_TIMEOUT_S :
								 GUEST_WORDS_TIMEOUT_S;
}

struct ctl_guests guest_words_told(const struct options *o, bool readonly)
{
	return (struct ctl_guests){
		.socket = o->vhost,
		.tag = guest_words_tag(o),
		.directory = o->vhost_dir ? o->vhost_dir : "/",
		.cache = cache_names[guest_words_cache(o)],
		.writable = !readonly && options_guests_write(o),
		.writeback = o->guest_writeback == ON,
		.max = o->guests_max ? (uint32_t)o->guests_max : VHOST_GUESTS_MAX,
		.timeout_s = guest_words_valid_s(o, guest_words_cache(o), readonly),
	};
}
